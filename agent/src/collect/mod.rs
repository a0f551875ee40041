//! The collections, one file each, in order of volatility. They run in a process of their own that may hang or be
//! killed; what they have taken by then is in the bag.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use crate::bundle::{Bag, Frozen, Name, writer};
use crate::capture::job::Job;
use crate::event::ProcessId;
use crate::history::tree::Tree;
use crate::kernel::Tasks;
use crate::plan::{Plan, Step};
use crate::system::process as system;

mod accounts;
mod around;
mod attempts;
mod backing;
mod code;
mod containers;
mod content;
mod core;
mod credentials;
mod deleted;
mod descriptors;
mod exe;
mod files;
mod findings;
mod first;
mod freeze;
mod hidden;
mod history;
mod identity;
mod image;
mod kernel;
mod log;
mod matching;
mod memory;
mod named;
mod names;
mod netlink;
mod network;
mod open;
mod packages;
mod passwd;
mod persistence;
mod pinned;
mod pool;
mod procdir;
mod process;
mod ram;
mod segments;
mod snapshot;
mod sockets;
mod source;
mod sparse;
mod spool;
mod stash;
mod state;
mod symbols;
mod threads;
mod timeline;
mod tree;

#[cfg(test)]
pub(crate) mod testing;

pub use around::{Look, look};
use attempts::Attempts;
pub use attempts::Progress;
pub use first::{Held, first};
use freeze::Freezer;
use open::{file, mounted, walk};
use pinned::Pinned;
use pool::Pool;
pub use snapshot::threads as reading_threads;
pub use spool::Spool;

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
    /// What was held still, and for how long.
    pub frozen: Vec<Frozen>,
    /// Holds it.
    freezer: Freezer,
    /// The processes, each opened once.
    pinned: Pinned,
    /// Room in memory for what is copied while a process stands still,
    pool: Pool,
    /// and on disk.
    pub spool: Spool,
    /// Files of the host that are in the bag, by path, and what they are called there.
    copied: BTreeMap<Vec<u8>, Name>,
    /// Files whose bytes are in the bundle already.
    taken: HashMap<content::Key, Name>,
    /// Files without a name that are held until they are copied.
    deleted: Option<deleted::Held>,
    /// What the package managers know of the files that run and that start others.
    inventory: Option<packages::Inventory>,
    /// Files that start something suspicious, or are that.
    suspicious: Vec<persistence::Suspicious>,
    /// How the living stand to each other.
    pub look: Look,
    /// Executables that are held open since the trigger.
    pub held: Vec<Held>,
    /// The kernel's own list of processes, where there is a probe.
    pub tasks: Option<Tasks>,
    /// What hides, as far as it was found: for the list of all that is worth a look.
    noted: Vec<hidden::Finding>,
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
        let pinned = Pinned::new(job.places.proc.clone());
        pinned.open(plan.scope.iter().filter(|one| one.state).map(|one| one.id));
        let freezer = Freezer::new(plan.limits.freeze);
        Self {
            job,
            tree,
            targets,
            plan,
            deadline,
            frozen: Vec::new(),
            freezer,
            pinned,
            copied: BTreeMap::new(),
            taken: HashMap::new(),
            deleted: None,
            inventory: None,
            suspicious: Vec::new(),
            pool: Pool::default(),
            spool: Spool::default(),
            look,
            held: Vec::new(),
            tasks: None,
            noted: Vec::new(),
        }
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
    Collection { name: "unlisted", step: Step::Tree, run: hidden::processes },
    Collection { name: "network", step: Step::Network, run: network::run },
    Collection { name: "process", step: Step::Process, run: process::run },
    Collection { name: "exe", step: Step::Exe, run: exe::run },
    Collection { name: "held", step: Step::Exe, run: first::run },
    Collection { name: "stash", step: Step::Stash, run: stash::run },
    Collection { name: "memory", step: Step::Memory, run: memory::run },
    Collection { name: "code", step: Step::Code, run: code::run },
    Collection { name: "containers", step: Step::Container, run: containers::run },
    Collection { name: "persistence", step: Step::Persistence, run: persistence::run },
    Collection { name: "packages", step: Step::Persistence, run: packages::run },
    Collection { name: "accounts", step: Step::Persistence, run: accounts::run },
    Collection { name: "credentials", step: Step::Persistence, run: credentials::run },
    Collection { name: "identity", step: Step::Persistence, run: identity::run },
    Collection { name: "timeline", step: Step::Hidden, run: timeline::run },
    Collection { name: "hidden", step: Step::Hidden, run: hidden::run },
    Collection { name: "files", step: Step::Files, run: files::run },
    Collection { name: "tables of logs", step: Step::Log, run: log::tables },
    Collection { name: "log", step: Step::Log, run: log::run },
    Collection { name: "kernel", step: Step::Kernel, run: kernel::run },
    Collection { name: "ram", step: Step::Ram, run: ram::run },
];

/// How an image of the whole RAM would be taken on this host, in words, or why not.
pub fn way_to_ram(proc: &Path) -> Result<String, String> {
    ram::way(proc)
}

/// Runs the plan's collections. An error means that the bag cannot be written any further; everything else that goes
/// wrong is an attempt's outcome.
pub fn run(
    context: &mut Context<'_>,
    bag: &mut Bag,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), writer::Error> {
    let mut attempts = Attempts::new(bag, progress, &context.plan.limits, context.deadline);
    if context.plan.steps.contains(&Step::Ram) && context.job.facts.initial_pid_namespace {
        // The bundle would drive out what is in memory, and be in its own image.
        attempts.drop_behind();
    }
    if context.plan.steps.contains(&Step::Memory) {
        memory::make_room(context);
    }
    for collection in ORDER {
        if context.plan.steps.contains(&collection.step) {
            attempts.begin(collection.name);
            (collection.run)(context, &mut attempts)?;
        }
    }
    Ok(())
}
