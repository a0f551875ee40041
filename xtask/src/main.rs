//! cargo xtask: everything that is not cargo itself.
fn main() {}
