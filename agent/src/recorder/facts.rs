//! What a bundle says about the host and the agent.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::Error;
use crate::capture::job::{Facts, Job, Places};
use crate::config::Config;
use crate::event::{BootId, Event, ProcessId};
use crate::kernel;
use crate::text::Bytes;
use crate::trigger::Trigger;

/// The initial PID namespace has this inode number on every Linux (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Host {
    /// This boot.
    pub boot: BootId,
    /// `/etc/machine-id`, or 32 zeros.
    pub machine_id: String,
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Whether the agent is in the initial PID namespace.
    pub initial_pid_namespace: bool,
}

/// Why a capture is made.
#[derive(Clone, Debug, Default)]
pub struct Reason {
    /// In our words.
    pub trigger: Trigger,
    /// As it came; empty for a person's.
    pub raw: Vec<u8>,
    /// Whom the resolver found in memory.
    pub targets: Vec<ProcessId>,
}

/// What the recorder knows of its own sight.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The probe's report, or why there is none.
    pub probe: Value,
    /// Events attempted, kept and lost.
    pub counts: Value,
    /// Gaps and losses that touch the window.
    pub gaps: Vec<Event>,
}

impl Host {
    /// Reads it from the host.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let paths = &config.paths;
        let name = nix::sys::utsname::uname()
            .map_err(|errno| super::io("ask for the kernel's name")(errno.into()))?;
        let namespace = std::fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino());
        Ok(Self {
            boot: kernel::boot_id(&paths.proc)?,
            machine_id: machine_id(&paths.root),
            hostname: name.nodename().to_string_lossy().into_owned(),
            kernel: name.release().to_string_lossy().into_owned(),
            initial_pid_namespace: namespace.is_ok_and(|inode| inode == INITIAL_PID_NAMESPACE),
        })
    }

    /// The job of a new capture, for `reason`, with what the recorder knows of itself.
    pub fn job(&self, config: &Config, reason: Reason, sight: Sight, now: Timestamp) -> Job {
        let Reason { trigger, raw, targets } = reason;
        Job {
            id: super::new_id(now),
            accepted: now,
            profile: trigger.profile.unwrap_or_default(),
            trigger,
            raw: Bytes(raw),
            targets,
            limits: config.capture.clone(),
            places: places(config),
            facts: self.facts(config, sight),
        }
    }

    fn facts(&self, config: &Config, sight: Sight) -> Facts {
        Facts {
            boot: self.boot,
            machine_id: self.machine_id.clone(),
            hostname: self.hostname.clone(),
            kernel: self.kernel.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: config.sha256(),
            initial_pid_namespace: self.initial_pid_namespace,
            probe: sight.probe,
            counts: sight.counts,
            gaps: sight.gaps,
            changes: Vec::new(),
        }
    }
}

/// Where a collector finds things.
fn places(config: &Config) -> Places {
    let paths = &config.paths;
    Places {
        proc: paths.proc.clone(),
        root: paths.root.clone(),
        history: Some(paths.history()).filter(|path| path.exists()),
        stash: Some(paths.stash()).filter(|path| path.exists()),
    }
}

/// The identity of the installation, as systemd keeps it (machine-id(5)).
pub fn machine_id(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("etc/machine-id")).unwrap_or_default();
    let id = text.trim();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        id.to_owned()
    } else {
        "0".repeat(32)
    }
}
