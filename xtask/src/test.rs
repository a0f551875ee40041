//! Everything that must pass.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::binaries::{self, cargo_static};
use crate::command::run as run_command;
use crate::{check, ebpf, setup, vm};

type Step = fn() -> Result<()>;

/// Runs the steps in the order in which a mistake shows soonest.
pub fn run() -> Result<()> {
    let begun = Instant::now();
    let mut passed = Vec::new();
    let steps: [(&str, Step); 6] = [
        ("setup", || setup::run(&setup::EVERYTHING)),
        ("check", check::check),
        ("units", units),
        ("worlds", worlds),
        ("probe", || ebpf::run(true)),
        ("vm 6.1", || vm::run(false, None)),
    ];
    for (name, step) in steps {
        let started = Instant::now();
        eprintln!("== {name}");
        step().with_context(|| format!("step `{name}` failed"))?;
        passed.push(format!("  {name:8} passed in {:>4} s", started.elapsed().as_secs()));
    }
    println!("{}", passed.join("\n"));
    println!("everything passed in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// The tests beside the code.
fn units() -> Result<()> {
    run_command(cargo_static("test").args(["--package", "afterimage", "--package", "xtask"]))?;
    run_command(cargo_static("test").args(["--package", "afterimage-ebpf", "--package", "e2e", "--lib"]))
}

/// The whole program, in private worlds, one after the other.
fn worlds() -> Result<()> {
    let folder = binaries::build()?;
    run_command(
        cargo_static("test")
            .args(["--package", "e2e", "--test", "*", "--", "--test-threads=1"])
            .env("AFTERIMAGE_BINARIES", folder),
    )
}
