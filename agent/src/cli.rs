//! What the user may type.
