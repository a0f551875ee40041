//! What will be taken, in which order, within which budget. Pure.
