//! The way in: BTF offsets, load and attach, ring, self-check.
