//! The act: a collector of its own for each trigger, watched, sealed.
