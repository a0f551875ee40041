//! What a host has and an empty root has not.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{SERVICE_HOME, SERVICE_USER};

/// Ends a fork bomb of ours before the machine feels it.
const MOST_PROCESSES: u64 = 2048;
/// A core of a process that reserves 4 GiB, as gcore writes it, still fits.
const MOST_FILE_BYTES: u64 = 8 * 1024 * 1024 * 1024;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
    wasiluser:x:1001:1001::/home/wasiluser:/bin/bash\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nwasiluser:x:1001:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 victim\n";
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef\n";

pub(super) fn furnish() -> Result<()> {
    setrlimit(Resource::RLIMIT_NPROC, MOST_PROCESSES, MOST_PROCESSES)?;
    // A soft one: a test of sparse files makes a larger one.
    setrlimit(Resource::RLIMIT_FSIZE, MOST_FILE_BYTES, getrlimit(Resource::RLIMIT_FSIZE)?.1)?;
    sysctls_are_read_only()?;
    for (name, text) in [("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS), ("machine-id", MACHINE_ID)] {
        fs::write(format!("/etc/{name}"), text).with_context(|| format!("write /etc/{name}"))?;
    }
    for folder in ["/var/lib", "/var/log", "/var/tmp", "/run/lock"] {
        fs::create_dir_all(folder)?;
    }
    fs::create_dir_all(SERVICE_HOME)?;
    chown(SERVICE_HOME, Some(SERVICE_USER), Some(SERVICE_USER))?;
    Ok(())
}

/// Root in here could otherwise set what belongs to the whole machine.
fn sysctls_are_read_only() -> Result<()> {
    const SYSCTLS: &str = "/proc/sys";
    let nothing = None::<&str>;
    mount(Some(SYSCTLS), SYSCTLS, nothing, MsFlags::MS_BIND, nothing).context("bind /proc/sys")?;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, SYSCTLS, nothing, again, nothing).context("make /proc/sys read-only")
}
