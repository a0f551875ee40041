//! The static binaries: the agent, and the actors and the /init of the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run, workspace};

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

/// Where they are once built.
pub fn folder() -> PathBuf {
    workspace().join("target/static").join(TARGET).join("debug")
}
