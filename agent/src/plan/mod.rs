//! What will be taken, in which order, within which budget. Pure: values in, values out.
//!
//! Targets come first, then all that descends from them (through exited links as well, so that orphans are found),
//! then their ancestors, then the rest of the service they belong to: whatever is cut off by a budget or a deadline is
//! what matters least.

use std::collections::HashSet;

use serde::Serialize;

use crate::capture::job::{Job, Limits};
use crate::event::{BootId, ProcessId};
use crate::history::tree::Tree;
use crate::trigger::Profile;

/// Processes in scope of one capture; more are counted, not taken.
pub const SCOPE_MAX: usize = 10_000;

/// What will be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How much.
    pub profile: Profile,
    /// The collections, in the order in which they run.
    pub steps: Vec<Step>,
    /// The processes, most important first.
    pub scope: Vec<InScope>,
    /// Processes that would be in scope but for `SCOPE_MAX`.
    pub left_out: usize,
    /// Definitions of files, by name or alias.
    pub artifacts: Vec<String>,
    /// Of which mapped files the bytes are taken, rather than name and hash.
    pub libraries: Libraries,
    /// Bounds.
    pub limits: Limits,
}

/// Of which mapped files the bytes are taken. Whatever the policy, they are of a file that was deleted, lies in a
/// temporary or hidden place, or is not what is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Libraries {
    /// Of those that no package of the distribution brought.
    Foreign,
    /// Of all.
    All,
}

/// A collection, in order of volatility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The recorder's window, and the trigger.
    History,
    /// Processes, living and exited, with lineage.
    Tree,
    /// Sockets and their owners, routes, neighbours.
    Network,
    /// State of each process in scope.
    Process,
    /// Executables of living processes.
    Exe,
    /// Executables the recorder kept.
    Stash,
    /// Process memory.
    Memory,
    /// The files behind executable memory, and where memory is not what they are.
    Code,
    /// Hidden files, deleted-but-open files.
    Hidden,
    /// Files that definitions name.
    Files,
    /// Logs, logins, shell histories.
    Log,
    /// The kernel's own state.
    Kernel,
    /// The whole RAM, with what its readers need of the kernel. Last, though it is volatile: it takes as long as all the rest
    /// many times over, and what matters most of it has been taken process by process.
    Ram,
}

/// All steps, in order.
pub const STEPS: [Step; 13] = [
    Step::History,
    Step::Tree,
    Step::Network,
    Step::Process,
    Step::Exe,
    Step::Stash,
    Step::Memory,
    Step::Code,
    Step::Hidden,
    Step::Files,
    Step::Log,
    Step::Kernel,
    Step::Ram,
];

/// One process of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InScope {
    /// Which.
    pub id: ProcessId,
    /// Why it is in scope.
    pub why: Why,
    /// Whether its exit was not seen.
    pub living: bool,
    /// Whether its state is taken (of the exited there is none).
    pub state: bool,
    /// Whether its executable is taken.
    pub exe: bool,
    /// Whether its memory is taken.
    pub core: bool,
    /// Whether what the recorder kept of its executables is taken.
    pub stash: bool,
}

/// Why a process is in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The trigger means it.
    Target,
    /// It descends from a target.
    Descendant,
    /// A target descends from it.
    Ancestor,
    /// It belongs to the same service: the same topmost ancestor below the first process.
    Service,
    /// The whole host is meant, or no target was found.
    Host,
}

/// The plan for `job`, with the resolved `targets`.
pub fn plan(job: &Job, tree: &Tree, targets: &[ProcessId]) -> Plan {
    let mut scope = Scope { job, tree, seen: HashSet::new(), list: Vec::new(), left_out: 0 };
    for target in targets {
        scope.add(*target, Why::Target);
    }
    for target in targets {
        scope.extend(&tree.subtree(target), Why::Descendant);
    }
    for target in targets {
        scope.extend(&below_first(tree, target), Why::Ancestor);
    }
    for target in targets {
        let top = below_first(tree, target).last().copied().unwrap_or(*target);
        scope.extend(&tree.subtree(&top), Why::Service);
    }
    if targets.is_empty() || job.trigger.target.whole_host {
        scope.extend(&everyone(tree, job.facts.boot), Why::Host);
    }
    let last = match job.profile {
        Profile::Volatile => Step::Process,
        Profile::Triage => Step::Kernel,
        Profile::Full => Step::Ram,
    };
    let steps = STEPS.into_iter().filter(|step| *step <= last).collect();
    let Scope { list: scope, left_out, .. } = scope;
    let artifacts = match job.profile {
        _ if !job.trigger.artifacts.is_empty() => job.trigger.artifacts.clone(),
        Profile::Volatile => Vec::new(),
        Profile::Triage => vec!["triage".to_owned()],
        Profile::Full => vec!["full".to_owned()],
    };
    let libraries = if job.profile == Profile::Full { Libraries::All } else { Libraries::Foreign };
    Plan { profile: job.profile, steps, scope, left_out, artifacts, libraries, limits: job.limits.clone() }
}

/// The ancestors, nearest first, up to and without the first process.
fn below_first(tree: &Tree, id: &ProcessId) -> Vec<ProcessId> {
    tree.ancestors(id).into_iter().take_while(|ancestor| ancestor.pid > 1).collect()
}

/// All processes: the living first, of each the newest first.
fn everyone(tree: &Tree, boot: BootId) -> Vec<ProcessId> {
    let mut nodes: Vec<_> = tree.nodes().collect();
    nodes.sort_by_key(|node| (!node.lives_in(boot), std::cmp::Reverse(node.seen), node.id));
    nodes.iter().map(|node| node.id).collect()
}

struct Scope<'a> {
    job: &'a Job,
    tree: &'a Tree,
    seen: HashSet<ProcessId>,
    list: Vec<InScope>,
    left_out: usize,
}

impl Scope<'_> {
    fn extend(&mut self, ids: &[ProcessId], why: Why) {
        for id in ids {
            self.add(*id, why);
        }
    }

    fn add(&mut self, id: ProcessId, why: Why) {
        if !self.seen.insert(id) {
            return;
        }
        if self.list.len() >= SCOPE_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let living = self.tree.get(&id).is_none_or(|node| node.lives_in(self.job.facts.boot));
        let profile = self.job.profile;
        let close = why <= Why::Descendant;
        self.list.push(InScope {
            id,
            why,
            living,
            state: living,
            exe: living
                && match profile {
                    Profile::Volatile => false,
                    Profile::Triage => why <= Why::Ancestor,
                    Profile::Full => true,
                },
            core: living
                && match profile {
                    Profile::Volatile => false,
                    Profile::Triage => close,
                    Profile::Full => true,
                },
            stash: profile != Profile::Volatile,
        });
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
