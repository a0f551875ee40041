//! A whole Debian 12 for the private worlds, packed once: what its packages install, and nothing else.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{command, run, workspace};

/// Packages that bring places from which programs start: cron, at, init scripts, PAM, udev, hooks of apt, git, ...
const PACKAGES: &str = "systemd-sysv,udev,dbus,cron,anacron,at,openssh-server,sudo,logrotate,initramfs-tools,\
    network-manager,ifupdown,isc-dhcp-client,git,bash-completion,fish,zsh,python3,unattended-upgrades,cloud-init,\
    rsyslog,libpam-systemd,apt-listchanges,fuse3,exim4-base";

/// Nothing starts from there, and it is half of the whole.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// Where it is; the worlds see it as `/out/debian.tar`.
pub fn archive() -> PathBuf {
    workspace().join("target/debian.tar")
}

/// Makes it, in two or three minutes.
pub fn make() -> Result<()> {
    let unfinished = archive().with_extension("tar.partial");
    let mut mmdebstrap = command("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", "--format=tar"]).arg(format!("--include={PACKAGES}"));
    mmdebstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    run(mmdebstrap.arg("bookworm").arg(&unfinished))?;
    Ok(std::fs::rename(unfinished, archive())?)
}
