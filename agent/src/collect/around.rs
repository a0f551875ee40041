//! A look at how the living processes stand to each other: sessions, tracers, control groups, and who holds which pipe
//! and socket. Made once, before the plan, which needs it; what is taken later is described with it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::netlink::{self, Doors};
use super::procdir::ProcDir;
use super::sockets::{self, Sockets};
use crate::event::{BootId, ProcessId};
use crate::history::tree::Tree;
use crate::plan::around::{Around, Holder, Object, Standing};
use crate::proc::{Status, memberships, namespace_inode};
use crate::text::Bytes;

/// Descriptors of one process, and of all.
const FDS_MAX: usize = 65_536;
const ALL_FDS_MAX: usize = 1 << 20;
/// Network namespaces.
const NAMESPACES_MAX: usize = 256;
const TEXT_MAX: u64 = 64 << 10;
/// So many processes, which came one after the other, are looked at by one thread.
const CHUNK: usize = 16;
/// Things that could not be seen, in words.
const LACKS_MAX: usize = 16;

/// What the look gave.
#[derive(Debug, Default)]
pub struct Look {
    /// For the plan.
    pub around: Around,
    /// Of each network namespace in view: somebody who lives there, and its sockets.
    pub(super) namespaces: BTreeMap<u32, View>,
    /// What could not be seen.
    pub(super) lacks: Vec<String>,
}

/// One network namespace.
#[derive(Debug)]
pub(super) struct View {
    pub(super) dir: ProcDir,
    /// Why not, in words, where the namespace could not be entered.
    pub(super) doors: Result<Doors, String>,
    pub(super) sockets: Sockets,
}

/// Looks at all living processes of `tree`, until `deadline`.
pub fn look(proc: &Path, boot: BootId, tree: &Tree, deadline: Instant) -> Look {
    let mut look = Look::default();
    let mut living: Vec<ProcessId> =
        tree.nodes().filter(|node| node.lives_in(boot)).map(|node| node.id).collect();
    // Those that came last are most likely to be gone soon.
    living.sort_unstable_by_key(|id| std::cmp::Reverse((id.start, id.pid)));
    let search = Search {
        proc,
        tree,
        deadline,
        left: AtomicUsize::new(ALL_FDS_MAX),
        namespaces: Mutex::new(HashSet::new()),
    };
    let one = |id: &ProcessId| search.process(*id);
    // Two, as the kernel's work is most of it; the other processors are the host's.
    let (even, odd): (Vec<_>, Vec<_>) = living.chunks(CHUNK).enumerate().partition(|(at, _)| at % 2 == 0);
    let share = |chunks: Vec<(usize, &[ProcessId])>| -> Vec<Seen> {
        chunks.iter().flat_map(|(_, chunk)| *chunk).filter_map(one).collect()
    };
    let (first, second) = thread::scope(|scope| {
        let other = scope.spawn(|| share(odd));
        (share(even), other.join().unwrap_or_default())
    });
    for seen in first.into_iter().chain(second) {
        look.add(seen);
    }
    if Instant::now() >= deadline || search.left.load(Ordering::Relaxed) == 0 {
        look.lacks.push("not all processes were asked for their descriptors".to_owned());
    }
    if let Ok(own) = ProcDir::own(proc)
        && let Some(namespace) = network_namespace(&own)
    {
        look.namespace(namespace, own);
    }
    look.lacks.truncate(LACKS_MAX);
    for view in look.namespaces.values_mut() {
        view.sockets = sockets::list(&view.doors, &view.dir, deadline);
    }
    let all: Vec<(u32, &sockets::Socket)> = look
        .namespaces
        .iter()
        .flat_map(|(namespace, view)| view.sockets.all.iter().map(|socket| (*namespace, socket)))
        .collect();
    look.around.joined = sockets::joined(&all);
    look.around.sockets = all.iter().map(|(_, socket)| (socket.inode, sockets::describe(socket))).collect();
    look
}

/// What those who look share.
struct Search<'a> {
    proc: &'a Path,
    tree: &'a Tree,
    deadline: Instant,
    /// Descriptors that may still be looked at.
    left: AtomicUsize,
    /// Those of whom somebody is known.
    namespaces: Mutex<HashSet<u32>>,
}

/// One process: how it stands, its descriptors of pipes and sockets, what could not be seen.
struct Seen {
    id: ProcessId,
    standing: Standing,
    holders: Vec<(Object, Holder)>,
    /// Its directory stays open when nobody else of its network namespace was seen before.
    first_of: Option<(u32, ProcDir)>,
    lack: Option<String>,
}

impl Search<'_> {
    /// Looks at one process; nothing of one that has ended, or when there is no time or room left.
    fn process(&self, id: ProcessId) -> Option<Seen> {
        if Instant::now() >= self.deadline || self.left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let dir = ProcDir::open(self.proc, id).ok()?;
        let mut standing = self.standing(&dir);
        let mut holders = Vec::new();
        let lack = match dir.numbers("fd", FDS_MAX) {
            Ok((fds, whole)) => {
                for fd in &fds {
                    let link = dir.link(&format!("fd/{fd}")).unwrap_or_default();
                    let holder = Holder { process: id, fd: *fd };
                    holders.extend(Object::of_link(&link).map(|object| (object, holder)));
                }
                let left = self.left.load(Ordering::Relaxed).saturating_sub(fds.len());
                // Two may do this at once: it is a bound on memory, not a count.
                self.left.store(left, Ordering::Relaxed);
                (!whole).then(|| format!("pid {} has more than {FDS_MAX} descriptors", id.pid))
            }
            Err(error) => Some(format!("descriptors of pid {}: {error}", id.pid)),
        };
        standing.holds = holders.iter().map(|(object, _)| *object).collect();
        standing.holds.sort_unstable();
        standing.holds.dedup();
        let namespace = network_namespace(&dir).filter(|namespace| {
            self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).insert(*namespace)
        });
        let first_of = namespace.map(|namespace| (namespace, dir));
        Some(Seen { id, standing, holders, first_of, lack })
    }

    fn standing(&self, dir: &ProcDir) -> Standing {
        let text = |name| dir.text(name, TEXT_MAX).map(|(text, _)| text).unwrap_or_default();
        let image = self.tree.get(&dir.id()).and_then(|node| node.image());
        // The tree has it of a moment ago; on older kernels the unified hierarchy says little.
        let known = image.map(|image| image.cgroup.clone()).filter(|group| group.0.len() > 1);
        Standing {
            name: dir.stat.comm.clone(),
            executable: image.map(|image| image.executable.clone()).unwrap_or_default(),
            session: dir.stat.session,
            tracer: Status::parse(&text("status")).map_or(0, |status| status.tracer),
            cgroup: known.unwrap_or_else(|| cgroup(&text("cgroup"))),
            resident: dir.stat.rss.saturating_mul(page_size()),
            holds: Vec::new(),
        }
    }
}

fn network_namespace(dir: &ProcDir) -> Option<u32> {
    namespace_inode(&dir.link("ns/net").ok()?)
}

impl Look {
    fn add(&mut self, seen: Seen) {
        let Seen { id, standing, holders, first_of, lack } = seen;
        for (object, holder) in holders {
            self.around.holders.entry(object).or_default().push(holder);
        }
        self.around.standings.insert(id, standing);
        self.lacks.extend(lack);
        if let Some((namespace, dir)) = first_of {
            self.namespace(namespace, dir);
        }
    }

    /// Keeps one process of each network namespace.
    fn namespace(&mut self, namespace: u32, dir: ProcDir) {
        if self.namespaces.contains_key(&namespace) {
            return;
        }
        if self.namespaces.len() >= NAMESPACES_MAX {
            self.lacks.push(format!("more than {NAMESPACES_MAX} network namespaces"));
            return;
        }
        let doors = dir
            .namespace("net")
            .and_then(netlink::doors)
            .map_err(|error| format!("cannot enter the network namespace: {error}"));
        self.namespaces.insert(namespace, View { dir, doors, sockets: Sockets::default() });
    }
}

/// The group in the unified hierarchy; where that has nothing to say, in the one of an older kernel that names most.
fn cgroup(text: &[u8]) -> Bytes {
    let all = memberships(text);
    let unified = all.iter().find(|member| member.hierarchy == 0).map(|member| member.path.clone());
    match unified {
        Some(path) if path.as_slice() != b"/" => path,
        _ => all.into_iter().map(|member| member.path).max_by_key(|path| path.0.len()).unwrap_or_default(),
    }
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

#[cfg(test)]
#[path = "around_test.rs"]
mod tests;
