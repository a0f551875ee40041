//! What will be taken, in which order, within which budget. Pure: values in, values out.
//!
//! Targets come first, then all that descends from them (through exited links as well, so that orphans are found), who
//! traces one of these or holds the other end of a pipe or socket of theirs, their session, their ancestors, their
//! container, then the rest of the service they belong to: whatever is cut off by a budget or a deadline is what matters
//! least.

pub mod around;

use std::collections::HashSet;

use serde::Serialize;

use crate::capture::job::{Job, Limits, Omit};
use crate::event::{BootId, ProcessId};
use crate::history::tree::Tree;
use crate::trigger::Profile;

use around::{Around, Related};

/// Processes in scope of one capture; more are counted, not taken.
pub const SCOPE_MAX: usize = 10_000;

/// Processes whose peers and tracers are looked for.
const CLOSE_MAX: usize = 1_000;

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
    /// What the runtimes know of containers, and what these have written, before a runtime removes it.
    Container,
    /// All places from which programs start again, and what the package managers know of these files. Before the hidden
    /// files: what is suspicious here is copied there.
    Persistence,
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
pub const STEPS: [Step; 15] = [
    Step::History,
    Step::Tree,
    Step::Network,
    Step::Process,
    Step::Exe,
    Step::Stash,
    Step::Memory,
    Step::Code,
    Step::Container,
    Step::Persistence,
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
    /// To whom it stands in that relation, where it is not of one family with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<ProcessId>,
    /// By what: which socket, which session, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether its exit was not seen.
    pub living: bool,
    /// Whether its state is taken (of the exited there is none).
    pub state: bool,
    /// Whether that is all there is of it (threads, timers, smaps, ...), or only what a look at a whole host needs.
    pub all_state: bool,
    /// Whether its executable is taken.
    pub exe: bool,
    /// Whether its memory is taken.
    pub core: bool,
    /// Whether what the recorder kept of its executables is taken.
    pub stash: bool,
    /// What would be taken, but for the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omit>,
}

/// Why a process is in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The trigger means it.
    Target,
    /// It descends from a target.
    Descendant,
    /// It traces one of these, or is traced by it.
    Tracer,
    /// It holds the other end of a pipe, a UNIX socket or a connection of one of these.
    Peer,
    /// It is in the same session.
    Session,
    /// A target descends from it.
    Ancestor,
    /// It is in the same container, or control group.
    Container,
    /// It belongs to the same service: the same topmost ancestor below the first process.
    Service,
    /// The whole host is meant, or no target was found.
    Host,
}

/// Why `one` is in scope, in words.
pub fn words(one: &InScope) -> String {
    let why = match one.why {
        Why::Target => "target",
        Why::Descendant => "descends from a target",
        Why::Tracer => "tracing",
        Why::Peer => "other end",
        Why::Session => "same session",
        Why::Ancestor => "a target descends from it",
        Why::Container => "same container",
        Why::Service => "same service",
        Why::Host => "on this host",
    };
    match (&one.by, &one.of) {
        (Some(by), Some(of)) => format!("{why} ({by}, of pid {})", of.pid),
        _ => why.to_owned(),
    }
}

/// The plan for `job`, with the resolved `targets`, and what is known of how processes stand to each other.
pub fn plan(job: &Job, tree: &Tree, targets: &[ProcessId], around: &Around) -> Plan {
    let mut scope = Scope { job, tree, seen: HashSet::new(), list: Vec::new(), left_out: 0 };
    for target in targets {
        scope.add(*target, Why::Target);
    }
    for target in targets {
        scope.extend(&tree.subtree(target), Why::Descendant);
    }
    let close: Vec<ProcessId> = scope.list.iter().map(|one| one.id).take(CLOSE_MAX).collect();
    for id in &close {
        scope.relate(around.tracers(id), Why::Tracer);
    }
    for id in &close {
        scope.relate(around.peers(id), Why::Peer);
    }
    for target in targets {
        scope.relate(around.session(target), Why::Session);
    }
    for target in targets {
        scope.extend(&below_first(tree, target), Why::Ancestor);
    }
    for target in targets {
        scope.relate(around.container(target), Why::Container);
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
    // Files that were asked for by name are taken whatever else is.
    let asked = |step: Step| step == Step::Files && !job.trigger.artifacts.is_empty();
    let steps = STEPS.into_iter().filter(|step| *step <= last || asked(*step)).collect();
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

    fn relate(&mut self, all: Vec<Related>, why: Why) {
        for Related { id, of, by } in all {
            let before = self.list.len();
            self.add(id, why);
            if let Some(added) = self.list.get_mut(before) {
                (added.of, added.by) = (Some(of), Some(by));
            }
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
        let core = living
            && match profile {
                Profile::Volatile => false,
                Profile::Triage => close,
                Profile::Full => true,
            };
        let mut omitted = self.job.limits.omit.clone();
        omitted.retain(|what| match what {
            Omit::Environment => living,
            Omit::Memory => core,
        });
        self.list.push(InScope {
            id,
            why,
            of: None,
            by: None,
            living,
            state: living,
            all_state: living && (profile != Profile::Volatile || why < Why::Host),
            exe: living
                && match profile {
                    Profile::Volatile => false,
                    Profile::Triage => why <= Why::Ancestor,
                    Profile::Full => true,
                },
            core: core && !omitted.contains(&Omit::Memory),
            stash: profile != Profile::Volatile,
            omitted,
        });
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
