//! Cgroups of the world's own: what is frozen in it is nobody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// A cgroup in the unified hierarchy and one in the freezer's, where the machine has them. Inside, a mount of the
/// hierarchy shows nothing but what is below.
pub(super) struct Own(Vec<PathBuf>);

impl Own {
    pub(super) fn create() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let freezable = mounts.lines().filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let mut kind = kind.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let freezer = name == "cgroup" && options.split(',').any(|option| option == "freezer");
            (name == "cgroup2" || freezer)
                .then(|| Path::new(point).join(format!("afterimage-world-{}", std::process::id())))
        });
        let mut own = Self(Vec::new());
        for folder in freezable {
            fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
            own.0.push(folder);
        }
        Ok(own)
    }

    /// The same command, in these cgroups before it begins.
    pub(super) fn inside(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        let script = "while [ \"$1\" != -- ]; do echo $$ > \"$1/cgroup.procs\" || exit; shift; done; shift; exec \"$@\"";
        shell.args(["-c", script, "world"]).args(&self.0).arg("--");
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for folder in &self.0 {
            // What was in it has been killed, and may still be about to end.
            let gone = wait::until("an empty cgroup", Duration::from_secs(10), || Ok(remove(folder).ok()));
            if gone.is_err() {
                eprintln!("{} could not be removed", folder.display());
            }
        }
    }
}

/// Removes a cgroup and those below it.
fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path())?;
    }
    fs::remove_dir(folder)
}
