//! The binary `afterimage`.
fn main() {}
