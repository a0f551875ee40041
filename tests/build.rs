//! `brief` brings its own entry point, and the C library's start-up would be most of its life.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=brief=-nostartfiles");
}
