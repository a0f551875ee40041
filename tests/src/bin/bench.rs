//! `cargo xtask bench`: measures in private worlds: `bench [GROUP | PART]`; see `e2e::bench`.

use std::env;
use std::process::ExitCode;

use e2e::{bench, world};

fn main() -> ExitCode {
    // In a world the arguments are those of a test's executable, and the world's name says which part is measured.
    let wanted = if world::name().is_some() { None } else { env::args().nth(1) };
    match bench::run_group(wanted.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
