//! What was done to a file in a place that matters: one from which programs are started again, or one that keeps logs.

use serde::{Deserialize, Serialize};

use crate::text::Bytes;

/// One deed, as the kernel told it (fanotify), or several like it by one process within a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// What was done.
    #[serde(rename = "afterimage.deed")]
    pub deed: Deed,
    /// Why the place is watched.
    #[serde(rename = "afterimage.place")]
    pub place: Place,
    /// The file: the watched directory's path when it was last looked for, and the name in it.
    #[serde(rename = "file.path")]
    pub path: Bytes,
    /// Bytes before a truncation.
    #[serde(rename = "afterimage.size_before", skip_serializing_if = "Option::is_none", default)]
    pub before: Option<u64>,
    /// Bytes after a truncation.
    #[serde(rename = "file.size", skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
    /// How often, since the last event like this one.
    #[serde(rename = "afterimage.count", skip_serializing_if = "is_one", default = "one")]
    pub count: u64,
    /// How many processes wrote to a truncated file in the moment of the truncation, where it was not one: each of them has
    /// an event, and one of them did it.
    #[serde(rename = "afterimage.writers", skip_serializing_if = "Option::is_none", default)]
    pub writers: Option<u64>,
    /// Who did it is not known: it lives outside the agent's PID namespace, had gone already, or did it before the
    /// directory was watched. The event then bears the agent's own process.
    #[serde(rename = "afterimage.unknown_process", skip_serializing_if = "super::is_false", default)]
    pub unknown: bool,
}

/// Why a place is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// What is put there is run later, or decides who may come in.
    Persistence,
    /// What is written there tells what happened.
    Log,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// It was there already when its directory, which is new, began to be watched.
    Found,
    /// A new name.
    Created,
    /// Written to, or closed after it was open for writing.
    Written,
    /// Something was renamed to this name; what had it before is gone.
    RenamedIn,
    /// Renamed to another name.
    RenamedOut,
    /// Deleted.
    Deleted,
    /// Owner, mode, times or other attributes were changed.
    Attributes,
    /// Made shorter.
    Truncated,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_one(count: &u64) -> bool {
    *count == 1
}

fn one() -> u64 {
    1
}
