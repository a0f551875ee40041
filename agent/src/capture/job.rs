//! What a collector is told: everything it needs, in one file beside the bundle in the making.
//!
//! `<id>.job` is written before the trigger is answered, so that an accepted capture survives the recorder.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{BootId, ProcessId};
use crate::trigger::{Profile, Trigger};

/// One accepted capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// UUIDv7: the bundle's name, and its order in time.
    pub id: Uuid,
    /// When the trigger was accepted.
    pub accepted: Timestamp,
    /// Why.
    pub trigger: Trigger,
    /// The trigger as it came (a webhook's body), escaped.
    pub raw: crate::text::Bytes,
    /// Whom the resolver found in the recorder's memory; the collector looks through the history on disk as well.
    pub targets: Vec<ProcessId>,
    /// How much to take.
    pub profile: Profile,
    /// Bounds.
    pub limits: Limits,
    /// Where things are.
    pub places: Places,
    /// What the recorder knows about itself and the host at this moment.
    pub facts: Facts,
}

/// Bounds of one capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall seconds until the collector is ended and what it has is sealed.
    pub deadline_s: u64,
    /// Bytes of evidence, before compression.
    pub bytes: u64,
    /// Of these, bytes of process memory.
    pub memory_bytes: u64,
    /// Bytes of any one file or log.
    pub file_bytes: u64,
    /// How far back the history goes into the bundle, in hours.
    pub history_hours: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline_s: 300,
            bytes: 8 << 30,
            memory_bytes: 4 << 30,
            file_bytes: 256 << 20,
            history_hours: 24,
        }
    }
}

/// Where things are on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// procfs.
    pub proc: PathBuf,
    /// The root of the host's files (`/`, or where they are mounted when the agent runs in a container).
    pub root: PathBuf,
    /// History segments; `None` when there is no recorder.
    pub history: Option<PathBuf>,
    /// The stash.
    pub stash: Option<PathBuf>,
}

/// What the recorder knows about itself and the host; goes into `capture.json` as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// This boot.
    pub boot: BootId,
    /// `/etc/machine-id`, or 32 zeros.
    pub machine_id: String,
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Version of the agent.
    pub version: String,
    /// SHA-256 of the configuration in force.
    pub config_sha256: String,
    /// Whether the agent lives in the initial PID namespace, and so sees the whole host.
    pub initial_pid_namespace: bool,
    /// The probe's report (offsets, attached programs, self-check), or why there is none.
    pub probe: serde_json::Value,
    /// Events attempted, kept and lost since the recorder started, as counted in the kernel and here.
    pub counts: serde_json::Value,
    /// Own activity during the capture that changes the host: what, in words.
    pub changes: Vec<String>,
}
