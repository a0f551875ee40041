//! What a bundle says about itself: every attempt, and what became of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Name;
use crate::capture::job::{Facts, Limits};
use crate::event::ProcessId;
use crate::text::Bytes;
use crate::trigger::{Profile, Trigger};

/// What became of one attempt. Every attempt ends in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it is in the bundle.
    Ok,
    /// Some of it is; the detail says what is not.
    Partial,
    /// The kernel, or our own rules, did not let us.
    Refused,
    /// It was not, or no longer, there.
    Gone,
    /// It did not answer in its time.
    TimedOut,
    /// The pid belonged to another process by then.
    IdentityChanged,
    /// The plan's budget was used up before it.
    OverBudget,
}

/// One attempt to take something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which collection: `process`, `memory`, `log`, ...
    pub collection: String,
    /// Of what: `<pid>-<start> environ`, `/var/log/auth.log`, ... (escaped).
    pub subject: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where the outcome is not `ok`; a remark, where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The artifact's name in the bag (below `data/`), if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact: Option<Name>,
    /// Bytes taken, before compression.
    #[serde(default)]
    pub bytes: u64,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in microseconds.
    #[serde(default)]
    pub took_us: u64,
}

/// One payload member, as it is in the bag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name in the bag, without the id.
    pub name: Name,
    /// The original name, where the one in the bag is escaped or cut.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original: Option<Bytes>,
    /// Bytes in the bag.
    pub size: u64,
    /// How many of them came from the source; the rest are zeros.
    pub read: u64,
    /// SHA-256 of all `size` bytes, in hexadecimal.
    pub sha256: String,
    /// File offset of the zstd frame that holds the member's header.
    pub frame: u64,
    /// Bytes of content from the beginning of that frame to the member's first byte.
    pub skip: u64,
}

/// How processes were held still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// They were not.
    #[default]
    None,
    /// By PTRACE_SEIZE: nobody sees it.
    Ptrace,
    /// By SIGSTOP: the parent was told.
    Stop,
    /// With their cgroup, of the unified hierarchy.
    CgroupV2,
    /// With their cgroup, of the freezer's own hierarchy.
    CgroupV1,
}

/// Processes that were held still while they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Which.
    pub processes: Vec<ProcessId>,
    /// How.
    pub method: Method,
    /// Their cgroup, where that was frozen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cgroup: Option<Bytes>,
    /// Threads that stood; of a whole cgroup they are not counted.
    pub threads: usize,
    /// When it began.
    pub since: Timestamp,
    /// For how long, in microseconds, from the first stop to the last release.
    pub micros: u64,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// `capture.json`: what a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// `afterimage-bundle/1`.
    pub format: String,
    /// The capture's id.
    pub id: Uuid,
    /// Whether the collector reached the end of its plan.
    pub complete: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incomplete: Option<String>,
    /// When the trigger was accepted.
    pub accepted: Timestamp,
    /// When the bag was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started: Option<Timestamp>,
    /// When the collector closed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
    /// When the bundle was sealed.
    pub sealed: Timestamp,
    /// Why it was made.
    pub trigger: Trigger,
    /// Whom the recorder found.
    pub targets: Vec<ProcessId>,
    /// How much was asked for.
    pub profile: Profile,
    /// Within which bounds.
    pub limits: Limits,
    /// The host and the agent.
    pub facts: Facts,
    /// What was held still, and for how long.
    #[serde(default)]
    pub frozen: Vec<Frozen>,
    /// Attempts by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Attempts that are not listed.
    #[serde(default)]
    pub attempts_dropped: u64,
    /// Every payload member.
    pub artifacts: Vec<Artifact>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
}
