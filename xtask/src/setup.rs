//! What the tasks need of the machine: said first, then installed where it is missing.

pub mod apt;
mod debian;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{self, command, find, workspace};

/// What something is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Compiling, and the lints.
    Build,
    /// Private worlds and the drill in them.
    World,
    /// Tools that are not ours and judge the bundle.
    Judges,
    /// A whole Debian, what writes its logs, and readers of what is taken of it; the demo needs none of that.
    Host,
    /// Debian kernels in QEMU.
    Vm,
    /// The reader of images of a machine's RAM.
    Ram,
    /// Rebuilding the probe.
    Probe,
    /// What the benchmark compares the agent with.
    Peers,
}

/// All that the tests need; the benchmark asks for its peers itself.
pub const EVERYTHING: [For; 7] =
    [For::Build, For::World, For::Judges, For::Host, For::Vm, For::Ram, For::Probe];

struct Need {
    purpose: For,
    package: &'static str,
    is_there: fn() -> bool,
}

const fn need(purpose: For, package: &'static str, is_there: fn() -> bool) -> Need {
    Need { purpose, package, is_there }
}

/// Debian 12 packages, and the sign by which each is known to be there already.
const NEEDS: &[Need] = &[
    need(For::Build, "gcc", || find("cc").is_some()),
    need(For::Build, "libc6-dev", || Path::new("/usr/include/stdio.h").exists()),
    need(For::World, "bubblewrap", || find("bwrap").is_some()),
    need(For::World, "iproute2", || find("ip").is_some()),
    need(For::World, "curl", || Path::new("/usr/bin/curl").exists()),
    need(For::World, "wget", || Path::new("/usr/bin/wget").exists()),
    need(For::Host, "forensic-artifacts", || Path::new("/usr/share/artifacts/linux.yaml").exists()),
    need(For::World, "nodejs", || Path::new("/usr/bin/node").exists()),
    need(For::Host, "mmdebstrap", || find("mmdebstrap").is_some()),
    need(For::World, "age", || Path::new("/usr/bin/age").exists()),
    need(For::Host, "systemd", || find("journalctl").is_some()),
    need(For::Host, "systemd-journal-remote", || {
        Path::new("/usr/lib/systemd/systemd-journal-remote").exists()
    }),
    need(For::Judges, "zstd", || Path::new("/usr/bin/zstd").exists()),
    need(For::Judges, "gdb", || Path::new("/usr/bin/gdb").exists()),
    need(For::Judges, "openssh-client", || Path::new("/usr/bin/ssh-keygen").exists()),
    need(For::Host, "sleuthkit", || Path::new("/usr/bin/mactime").exists()),
    need(For::Judges, "python3", || Path::new(PYTHON).exists()),
    need(For::Judges, "python3-venv", || apt::is_installed("python3-venv")),
    need(For::Vm, "qemu-system-x86", || find("qemu-system-x86_64").is_some()),
    need(For::Vm, "seabios", || Path::new("/usr/share/seabios").exists()),
    need(For::Vm, "ipxe-qemu", || apt::is_installed("ipxe-qemu")),
    need(For::Vm, "debian-archive-keyring", || Path::new(apt::KEYRING).exists()),
    need(For::Ram, "python3", || Path::new(PYTHON).exists()),
    need(For::Ram, "python3-venv", || apt::is_installed("python3-venv")),
    need(For::Ram, "xz-utils", || find("xz").is_some()),
    need(For::Ram, "e2fsprogs", || Path::new("/usr/sbin/mke2fs").exists()),
    need(For::Ram, "libsnappy1v5", || apt::is_installed("libsnappy1v5")),
    need(For::Probe, "rustc-web", || apt::is_installed("rustc-web") && compiles_the_probe()),
    need(For::Probe, "rust-web-src", || apt::is_installed("rust-web-src") && compiles_the_probe()),
    need(For::Peers, "bpftrace", || find("bpftrace").is_some()),
    need(For::Peers, "libbpf-tools", || apt::is_installed("libbpf-tools")),
    need(For::Peers, "linux-perf", || find("perf").is_some()),
];

/// The system's own Python: a version manager's may lie where a private world cannot see it.
const PYTHON: &str = "/usr/bin/python3";

/// 0.11 and later want a system LLVM; 0.10.1 loads the one of the compiler.
const BPF_LINKER: &str = "0.10.1";

/// What pip installs.
const PIP: [Need; 4] = [
    need(For::Judges, "bagit==1.9.0", || has_python("bagit.py")),
    need(For::Ram, "volatility3==2.28.2", || has_python("vol")),
    need(For::Peers, "varc==1.0.9", has_varc),
    // It does not say that it needs this.
    need(For::Peers, "lz4", has_varc),
];

/// What pip installs without what it asks for: of plaso, its parser of body files is used, which needs none of the forty
/// libraries in C for other formats.
const PLASO: [&str; 5] =
    ["plaso==20260720", "dfvfs==20260924", "dfdatetime==20261027", "dtfabric==20260506", "acstore==20260411"];

/// Where the Python judges are installed; the worlds see it as `/out/python`.
pub fn python() -> PathBuf {
    workspace().join("target/python")
}

/// Installs what is missing of what `purposes` need.
pub fn run(purposes: &[For]) -> Result<()> {
    let packages: Vec<&str> = NEEDS
        .iter()
        .filter(|need| purposes.contains(&need.purpose) && !(need.is_there)())
        .map(|need| need.package)
        .collect();
    let linker = purposes.contains(&For::Probe) && !has_bpf_linker();
    let pip: Vec<&str> = PIP
        .iter()
        .filter(|need| purposes.contains(&need.purpose) && !(need.is_there)())
        .map(|need| need.package)
        .collect();
    let plaso: &[&str] = if purposes.contains(&For::Host) && !has_plaso() { &PLASO } else { &[] };

    if !packages.is_empty() {
        println!(
            "setup: about to install with apt, from Debian 12 and its backports: {}",
            packages.join(" ")
        );
    }
    if linker {
        println!("setup: about to install with cargo: bpf-linker {BPF_LINKER} (some three minutes)");
    }
    let wanted = [&pip, plaso].concat();
    if !wanted.is_empty() {
        println!("setup: about to install with pip into {}: {}", python().display(), wanted.join(" "));
    }
    let debian = purposes.contains(&For::Host) && !debian::archive().exists();
    if debian {
        println!(
            "setup: about to unpack a Debian 12 into {} (some three minutes)",
            debian::archive().display()
        );
    }
    rust_components(purposes)?;
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    if linker {
        let mut install = command::cargo();
        command::run(install.args([
            "install",
            "--locked",
            "--force",
            "--version",
            BPF_LINKER,
            "bpf-linker",
        ]))?;
    }
    if !wanted.is_empty() {
        command::run(command(PYTHON).args(["-m", "venv"]).arg(python()))?;
    }
    for (alone, wanted) in [(false, pip.as_slice()), (true, plaso)] {
        if !wanted.is_empty() {
            let mut install = command(python().join("bin/pip"));
            install.args(["install", "--quiet"]).args(alone.then_some("--no-deps")).args(wanted);
            command::run(&mut install)?;
        }
    }
    if debian {
        debian::make()?;
    }
    Ok(())
}

fn has_python(program: &str) -> bool {
    python().join("bin").join(program).exists()
}

fn has_plaso() -> bool {
    let modules = "import plaso, dfvfs.helpers.text_file, dfdatetime.posix_time";
    command::output(command(python().join("bin/python")).args(["-c", modules])).is_ok()
}

fn has_varc() -> bool {
    command::output(command(python().join("bin/python")).args(["-c", "import varc_core.systems.linux"]))
        .is_ok()
}

/// The lints need parts of the toolchain that rustup installs by default, and distributions as packages of their own.
fn rust_components(purposes: &[For]) -> Result<()> {
    if !purposes.contains(&For::Build) {
        return Ok(());
    }
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = command::output(command::cargo().args([subcommand, "--version"])).is_ok();
        if there {
            continue;
        }
        if find("rustup").is_none() {
            bail!("`cargo {subcommand}` is missing: install {component} for your toolchain");
        }
        command::run(command("rustup").args(["component", "add", component]))
            .with_context(|| format!("`cargo {subcommand}` is missing and rustup cannot add it"))?;
    }
    Ok(())
}

/// Debian's compiler: its first release in Debian 12 is too old, its newest is in the security suite.
fn compiles_the_probe() -> bool {
    command::output(command("/usr/bin/rustc").arg("--version")).is_ok_and(|version| is_new_enough(&version))
}

/// `rustc 1.96.0 (...)`: at least the workspace's `rust-version`.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split([' ', '.']).skip(1).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(95))
}

fn has_bpf_linker() -> bool {
    command::output(command("bpf-linker").arg("--version")).is_ok_and(|version| version.contains(BPF_LINKER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_is_new_enough_from_the_workspaces_version_on() {
        for version in ["rustc 1.95.0 (59807616e 2026-04-14)", "rustc 1.96.0", "rustc 2.0.1"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["rustc 1.85.0 (4d91de4e4 2025-02-17)", "rustc 1.94.9", "", "rustc", "nonsense"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
