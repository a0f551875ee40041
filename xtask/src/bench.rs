//! `cargo xtask bench`: the figures the README may quote, measured in a private world.

use anyhow::Result;

use crate::binaries;
use crate::command::{command, run as run_command};
use crate::setup::{self, For};

/// Measures the door: how long a detector waits for its 202 while captures run.
pub fn run() -> Result<()> {
    setup::run(&[For::Build, For::World])?;
    let binaries = binaries::build()?;
    run_command(command(binaries.join("bench")).env("AFTERIMAGE_BINARIES", &binaries))
}
