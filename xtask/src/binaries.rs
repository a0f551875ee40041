//! The static binaries: the agent, and the actors and the /init of the tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, is_executable, run, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A cargo that builds static binaries into `target/static`.
pub fn cargo_static(subcommand: &str) -> Command {
    let mut command = cargo();
    command
        .args([subcommand, "--locked", "--target", TARGET, "--target-dir"])
        .arg(workspace().join("target/static"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Symbols stay, for back-traces; line tables would make the initramfs three times as large.
        .env("CARGO_PROFILE_DEV_STRIP", "debuginfo");
    command
}

/// Builds them all and answers where they are.
pub fn build() -> Result<PathBuf> {
    run(cargo_static("build").args(["--package", "afterimage", "--package", "e2e", "--bins"]))?;
    Ok(folder())
}

/// The agent as it is shipped, and the actors as for the tests, in a folder of their own.
pub fn build_for_bench() -> Result<PathBuf> {
    let actors = build()?;
    run(cargo_static("build").args(["--release", "--package", "afterimage", "--bins"]))?;
    let target = workspace().join("target/static");
    let (folder, agent) = (target.join("bench"), target.join(TARGET).join("release/afterimage"));
    // Anew: a program that still runs cannot be written over.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let entries = fs::read_dir(&actors).with_context(|| format!("read {}", actors.display()))?;
    let programs = entries.flatten().map(|entry| entry.path()).filter(|path| is_executable(path));
    for program in programs.chain([agent]) {
        let name = program.file_name().unwrap_or_default();
        fs::copy(&program, folder.join(name)).with_context(|| format!("copy {}", program.display()))?;
    }
    Ok(folder)
}

/// Where they are once built.
pub fn folder() -> PathBuf {
    workspace().join("target/static").join(TARGET).join("debug")
}
