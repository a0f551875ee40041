//! What this host lets us see and take, and in words why not.

mod execution;
mod host;
mod judge;

use serde::Serialize;

use crate::config::Config;

/// What is known of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is there.
    Good,
    /// It is not; afterimage works without it, at the cost named.
    Missing,
    /// Without it afterimage cannot work.
    Blocks,
    /// It cannot be found out (mostly: not root).
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What is known.
    pub verdict: Verdict,
    /// What was found, in words.
    pub found: String,
    /// What its absence costs, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// Looks at everything. With `root`, programs are loaded into the kernel for a moment to see which kinds it takes.
pub fn examine(config: &Config, root: bool) -> Vec<Check> {
    judge::judge(&host::Findings::gather(config, root))
}
