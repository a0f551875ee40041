//! The probe's programs. On the host this is an empty program, so that `cargo check --workspace` works.
fn main() {}
