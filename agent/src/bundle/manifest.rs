//! What a bundle says about itself: every attempt, and what became of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

use super::Name;
