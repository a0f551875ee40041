//! The collections, one file each, in order of volatility. They run in a process of their own that may hang or be
//! killed; what they have taken by then is in the bag.

use std::time::Instant;

use serde::Serialize;

use crate::bundle::{Bag, writer};
use crate::capture::job::Job;
use crate::event::ProcessId;
use crate::history::tree::Tree;
use crate::plan::{Plan, Step};
use crate::system::process as system;

mod around;
mod attempts;
mod core;
mod deleted;
mod descriptors;
mod exe;
mod file;
mod findings;
mod first;
mod freeze;
mod hidden;
mod history;
mod image;
mod kernel;
mod log;
mod memory;
mod named;
mod names;
mod netlink;
mod network;
mod passwd;
mod procdir;
mod process;
mod segments;
mod sockets;
mod stash;
mod state;
mod threads;
mod tree;
mod unlisted;
mod walk;

#[cfg(test)]
pub(crate) mod testing;

pub use around::{Look, look};
use attempts::Attempts;
pub use attempts::Progress;
pub use first::{Held, first};

/// What a collection works with.
#[derive(Debug)]
pub struct Context<'a> {
    /// What was asked for.
    pub job: &'a Job,
    /// The process tree, with the exited.
    pub tree: &'a Tree,
    /// Whom the trigger means.
    pub targets: &'a [ProcessId],
    /// What will be taken.
    pub plan: Plan,
    /// When the collector must have ended.
    pub deadline: Instant,
    /// Processes that were stopped, and for how long: for the manifest.
    pub frozen: Vec<Frozen>,
    /// How the living stand to each other.
    pub look: Look,
    /// Executables that are held open since the trigger.
    pub held: Vec<Held>,
}

/// A process that was stopped to read its registers and memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frozen {
    /// Which.
    pub process: ProcessId,
    /// Threads that were stopped.
    pub threads: usize,
    /// For how long, in microseconds, from the first thread's stop to the last one's release.
    pub micros: u64,
}

impl<'a> Context<'a> {
    /// A context for `plan`, before anything was taken.
    pub fn new(
        job: &'a Job,
        tree: &'a Tree,
        targets: &'a [ProcessId],
        plan: Plan,
        look: Look,
        deadline: Instant,
    ) -> Self {
        Self { job, tree, targets, plan, deadline, frozen: Vec::new(), look, held: Vec::new() }
    }
}

/// A collection.
struct Collection {
    name: &'static str,
    step: Step,
    run: fn(&mut Context<'_>, &mut Attempts<'_>) -> Result<(), writer::Error>,
}

/// All collections, most volatile first.
const ORDER: &[Collection] = &[
    Collection { name: "history", step: Step::History, run: history::run },
    Collection { name: "tree", step: Step::Tree, run: tree::run },
    Collection { name: "unlisted", step: Step::Tree, run: unlisted::run },
    Collection { name: "network", step: Step::Network, run: network::run },
    Collection { name: "process", step: Step::Process, run: process::run },
    Collection { name: "exe", step: Step::Exe, run: exe::run },
    Collection { name: "held", step: Step::Exe, run: first::run },
    Collection { name: "stash", step: Step::Stash, run: stash::run },
    Collection { name: "memory", step: Step::Memory, run: memory::run },
    Collection { name: "hidden", step: Step::Hidden, run: hidden::run },
    Collection { name: "log", step: Step::Log, run: log::run },
    Collection { name: "kernel", step: Step::Kernel, run: kernel::run },
];

/// Runs the plan's collections. An error means that the bag cannot be written any further; everything else that goes
/// wrong is an attempt's outcome.
pub fn run(
    context: &mut Context<'_>,
    bag: &mut Bag,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), writer::Error> {
    let mut attempts = Attempts::new(bag, progress, &context.plan.limits, context.deadline);
    for collection in ORDER {
        if context.plan.steps.contains(&collection.step) {
            attempts.begin(collection.name);
            (collection.run)(context, &mut attempts)?;
        }
    }
    Ok(())
}
