//! apt with lists of its own under target/, so that the machine's apt configuration stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::command::{command, output, run, workspace};

/// The keys Debian signs its suites with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const MIRROR: &str = "http://deb.debian.org";

const BOOKWORM: [&str; 4] = [
    "debian bookworm",
    "debian bookworm-updates",
    "debian-security bookworm-security",
    "debian bookworm-backports",
];

/// Packages that exist in Debian 12 too, but conflict there with what a machine may have: taken from backports.
const FROM_BACKPORTS: [&str; 3] = ["qemu-system-x86", "seabios", "ipxe-qemu"];

/// apt's lists and downloads for some suites, in a folder of their own.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Lists for `suites` (`debian bookworm`, ...), fetched and checked against Debian's keys.
    ///
    /// With `knows_installed` apt sees what is installed here; without, an empty machine.
    pub fn update(name: &str, suites: &[&str], knows_installed: bool) -> Result<Self> {
        let folder = workspace().join("target/apt").join(name);
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
        }
        let sources: String =
            suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {}\n", source(suite))).collect();
        fs::write(folder.join("sources.list"), sources)?;
        fs::write(folder.join("apt.conf"), configuration(&folder, knows_installed))?;
        let apt = Self { folder };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// `apt-get`, `apt-cache`, ... bound to this folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// What apt reads before the machine's own configuration, whose proxies stay in force.
fn configuration(folder: &Path, knows_installed: bool) -> String {
    let folder = folder.display();
    let status = if knows_installed { "/var/lib/dpkg/status" } else { "/dev/null" };
    // What is only unpacked into a VM may come from a mirror that is some weeks behind; it is signed all the same.
    let fresh = knows_installed;
    format!(
        r#"Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "{folder}/lists";
Dir::State::Status "{status}";
Dir::Cache "{folder}/cache";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Acquire::Check-Valid-Until "{fresh}";
APT::Sandbox::User "root";
Dpkg::Use-Pty "0";
"#
    )
}

/// Installs packages of Debian 12.
pub fn install(packages: &[&str]) -> Result<()> {
    let shown = packages.join(" ");
    if crate::command::find("apt-get").is_none() {
        bail!("there is no apt-get here: install what these Debian packages hold, then try again: {shown}");
    }
    if !Uid::effective().is_root() {
        bail!("only root can install packages: run this as root, or first `apt-get install {shown}`");
    }
    let apt = Apt::update("host", &BOOKWORM, true)?;
    let (backports, plain): (Vec<&str>, Vec<&str>) =
        packages.iter().partition(|package| FROM_BACKPORTS.contains(package));
    // Without a target release the newest of Debian 12 and its security suite is taken (the compiler for the probe is
    // only there new enough), and never one of the backports.
    for (target, some) in [(&[][..], plain), (&["-t", "bookworm-backports"][..], backports)] {
        if some.is_empty() {
            continue;
        }
        let mut install = apt.command("apt-get");
        run(install
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(target)
            .args(some))?;
    }
    Ok(())
}

/// Whether dpkg says that `package` is installed.
pub fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status == "install ok installed")
}

/// `debian sid` as apt's sources write it.
fn source(suite: &str) -> String {
    let (archive, name) = suite.split_once(' ').unwrap_or(("debian", suite));
    format!("{MIRROR}/{archive} {name} main")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_names_its_archive() {
        assert_eq!(source("debian sid"), "http://deb.debian.org/debian sid main");
        assert_eq!(
            source("debian-security bullseye-security"),
            "http://deb.debian.org/debian-security bullseye-security main"
        );
    }
}
