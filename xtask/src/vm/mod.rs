//! `cargo xtask vm`: the static agent on Debian's kernels.
//!
//! The machine has two programs in its initramfs: /init (tests/src/bin/init.rs) and /afterimage. What passes is
//! decided inside, by comparing what the agent reports with what /init knows from /proc.

mod cpio;
mod kernels;
mod qemu;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use self::kernels::Kernel;
use crate::command::{command, workspace};
use crate::setup::{self, For};
use crate::{binaries, command as commands};

const ORDINARY: &str = "6.1";

/// Boots all kernels, or the one that was asked for, or the ordinary one.
pub fn run(all: bool, kernel: Option<&str>) -> Result<()> {
    setup::run(&[For::Build, For::Vm])?;
    let wanted = kernel.unwrap_or(ORDINARY);
    let mut chosen = kernels::all()?;
    chosen.retain(|kernel| all || kernel.version == wanted);
    if chosen.is_empty() {
        bail!("tests/kernels.toml has no kernel `{wanted}`");
    }
    let initramfs = initramfs(&binaries::build()?)?;
    let mut failed = Vec::new();
    for kernel in &chosen {
        match boot(kernel, &initramfs) {
            Ok(()) => println!("vm {}: passed", kernel.version),
            Err(error) => {
                println!("vm {}: FAILED: {error:#}", kernel.version);
                println!("  or: cargo xtask vm --kernel {}", kernel.version);
                failed.push(kernel.version.as_str());
            }
        }
    }
    println!("vm: {} passed, {} failed", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failed on {}", failed.join(", ")) }
}

fn boot(kernel: &Kernel, initramfs: &Path) -> Result<()> {
    let image = kernel.image()?;
    println!("vm {}: {}", kernel.version, image.display());
    qemu::boot(qemu::boot_command(&image, initramfs))
}

/// /init, /afterimage and the folders they mount into, as a gzip cpio.
fn initramfs(binaries: &Path) -> Result<PathBuf> {
    let folder = workspace().join("target/vm");
    fs::create_dir_all(&folder)?;
    let plain = folder.join("initramfs.cpio");
    let mut archive =
        cpio::Archive::new(File::create(&plain).with_context(|| format!("make {}", plain.display()))?);
    for name in ["dev", "proc", "sys", "run", "tmp", "etc", "var", "root", "srv"] {
        archive.folder(name)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    for name in ["init", "afterimage", "deeds", "ticker"] {
        let path = binaries.join(name);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        archive.program(name, &content)?;
    }
    archive.finish()?;
    let packed = folder.join("initramfs.cpio.gz");
    let mut gzip = command("gzip");
    gzip.args(["-1", "--stdout"]).arg(&plain).stdin(Stdio::null()).stdout(File::create(&packed)?);
    commands::run(&mut gzip)?;
    Ok(packed)
}
