//! A whole Debian, laid out in a world.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::world;

/// A Debian as mmdebstrap makes it.
pub fn lay_out(root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let status = Command::new("tar")
        .args(["--numeric-owner", "--exclude=./dev/*", "-xpf", world::DEBIAN, "-C"])
        .arg(root)
        .status()?;
    ensure!(status.success(), "tar cannot unpack {}: `cargo xtask setup` makes it", world::DEBIAN);
    Ok(())
}
