//! Typed, bounded messages between our own processes.
