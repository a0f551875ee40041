//! What logs say. Pure: bytes in, values out; whoever wrote the bytes may have been an intruder.

pub(crate) mod access;
pub(crate) mod journal;
pub(crate) mod utmp;
