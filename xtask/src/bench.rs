//! `cargo xtask bench`: the figures the README may quote, measured in private worlds.

use anyhow::Result;

use crate::binaries;
use crate::command::{command, run as run_command};
use crate::setup::{self, For};

/// Measures one group or part (see `tests/src/bench/`), or all.
pub fn run(what: Option<&str>) -> Result<()> {
    setup::run(&[For::Build, For::World, For::Host, For::Peers])?;
    let binaries = binaries::build_for_bench()?;
    run_command(command(binaries.join("bench")).args(what).env("AFTERIMAGE_BINARIES", &binaries))?;
    if matches!(what, None | Some("history")) {
        // 90 minutes of a thousand process lives a second, made up; it takes some minutes.
        let example = ["run", "--release", "--package", "afterimage", "--example", "history"];
        run_command(binaries::cargo_static(example[0]).args(&example[1..]))?;
    }
    Ok(())
}
