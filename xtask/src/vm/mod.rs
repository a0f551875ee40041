//! `cargo xtask vm`: the static agent on Debian's kernels.
//!
//! The machine has two programs in its initramfs: /init (tests/src/bin/init.rs) and /afterimage. What passes is
//! decided inside, by comparing what the agent reports with what /init knows from /proc.

mod cpio;
mod kernels;
mod qemu;
mod ram;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::cpio::Archive;
use self::kernels::Kernel;
use self::qemu::Machine;
use crate::command::{command, workspace};
use crate::setup::{self, For};
use crate::{binaries, command as commands};

const ORDINARY: &str = "6.1";
/// No boot takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// Boots all kernels and has the RAM of one of them taken; or boots the one that was asked for, or the ordinary one.
pub fn run(all: bool, kernel: Option<&str>) -> Result<()> {
    setup::run(&[For::Build, For::Vm])?;
    let chosen = chosen(all, kernel)?;
    let initramfs = initramfs("initramfs", &binaries::build()?, &[])?;
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
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    if all { run_ram(None) } else { Ok(()) }
}

/// Has the whole RAM of a machine taken, and the images read by volatility3.
pub fn run_ram(kernel: Option<&str>) -> Result<()> {
    setup::run(&[For::Build, For::Vm, For::Ram])?;
    let binaries = binaries::build()?;
    chosen(false, kernel)?.iter().try_for_each(|kernel| ram::run(kernel, &binaries))
}

fn chosen(all: bool, kernel: Option<&str>) -> Result<Vec<Kernel>> {
    let wanted = kernel.unwrap_or(ORDINARY);
    let mut chosen = kernels::all()?;
    chosen.retain(|kernel| all || kernel.version == wanted);
    if chosen.is_empty() {
        bail!("tests/kernels.toml has no kernel `{wanted}`");
    }
    Ok(chosen)
}

fn boot(kernel: &Kernel, initramfs: &Path) -> Result<()> {
    let image = kernel.package()?.image;
    println!("vm {}: {}", kernel.version, image.display());
    let machine =
        Machine { image: &image, initramfs, memory: 1024, argument: "", disk: None, deadline: DEADLINE };
    qemu::boot(&machine).map(drop)
}

/// /init, /afterimage, the folders they mount into and `more` files, as a gzip cpio.
fn initramfs(name: &str, binaries: &Path, more: &[(String, PathBuf)]) -> Result<PathBuf> {
    let folder = workspace().join("target/vm");
    fs::create_dir_all(&folder)?;
    let plain = folder.join(format!("{name}.cpio"));
    let mut archive =
        Archive::new(File::create(&plain).with_context(|| format!("make {}", plain.display()))?);
    for name in ["dev", "proc", "sys", "run", "tmp", "etc", "var", "root", "srv", "boot", "modules"] {
        archive.folder(name)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    let programs =
        ["init", "afterimage", "deeds", "ticker"].map(|name| (name.to_owned(), binaries.join(name)));
    for (name, path) in programs.iter().chain(more) {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        archive.program(name, &content)?;
    }
    archive.finish()?;
    let packed = folder.join(format!("{name}.cpio.gz"));
    let mut gzip = command("gzip");
    gzip.args(["-1", "--stdout"]).arg(&plain).stdin(Stdio::null()).stdout(File::create(&packed)?);
    commands::run(&mut gzip)?;
    Ok(packed)
}
