//! Which processes a trigger means: among the living and the exited. Pure.
//!
//! A trigger says some things of the process it means, seldom its pid. A process is meant when it fits everything
//! that is said; when there is none, those that fit best are taken and what does not fit is said with them.

use jiff::Timestamp;

use super::Trigger;
use super::hint::{Hint, Hints, Judged};
use crate::event::ProcessId;
use crate::history::tree::Tree;

/// The most processes one trigger is taken to mean; a container can have thousands.
pub const MATCHES_MAX: usize = 64;
/// The most that are taken when none fits everything.
const RELAXED_MAX: usize = 16;

/// One process a trigger means, or may mean.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Match {
    /// Which.
    pub process: ProcessId,
    /// How well it fits; only comparable with others of the same trigger.
    pub score: u32,
    /// Why, in words; what begins with `but` does not fit.
    pub why: Vec<String>,
}

/// The processes of `tree` that `trigger` means, best first; at most [`MATCHES_MAX`].
///
/// `now` stands in for the alert's time where it has none. Empty when the whole host is meant, when nothing is said
/// that could point to a process, and when nothing fits.
pub fn resolve(trigger: &Trigger, tree: &Tree, now: Timestamp) -> Vec<Match> {
    let time = trigger.time.unwrap_or(now);
    let Some(hints) = Hints::new(&trigger.target, time, tree) else { return Vec::new() };
    let mut judged: Vec<Judged<'_>> =
        tree.nodes().map(|node| hints.judge(node)).filter(Judged::is_pointed_at).collect();
    if judged.iter().any(Judged::fits_all) {
        judged.retain(Judged::fits_all);
        if trigger.target.pid.is_some() {
            keep_nearest(&mut judged);
        }
        sort(&mut judged);
        judged.truncate(MATCHES_MAX);
    } else {
        // By what fits, not by how little contradicts: more hints that fit are more than fewer that do.
        let best = judged.iter().map(Judged::relaxed_score).max();
        judged.retain(|judged| Some(judged.relaxed_score()) == best);
        sort(&mut judged);
        judged.truncate(RELAXED_MAX);
    }
    judged
        .iter()
        .map(|judged| Match {
            process: judged.node.id,
            score: judged.score(),
            why: Hint::ALL.iter().filter_map(|&hint| hints.explain(judged, hint)).collect(),
        })
        .collect()
}

/// A pid was used by several: whoever lived at the alert's time, or nearest to it, is meant.
fn keep_nearest(judged: &mut Vec<Judged<'_>>) {
    let nearest = judged.iter().map(|judged| judged.distance_s).min();
    judged.retain(|judged| Some(judged.distance_s) == nearest);
}

fn sort(judged: &mut [Judged<'_>]) {
    judged.sort_by_key(|judged| {
        (
            std::cmp::Reverse(judged.score()),
            judged.distance_s,
            std::cmp::Reverse(judged.node.seen),
            judged.node.id,
        )
    });
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
