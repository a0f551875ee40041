//! A look at how the living processes stand to each other: sessions, tracers, control groups, and who holds which pipe
//! and socket. Made once, before the plan, which needs it; what is taken later is described with it.

use std::collections::BTreeMap;
use std::path::Path;
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
    let mut descriptors = 0_usize;
    for id in living {
        if Instant::now() >= deadline || descriptors >= ALL_FDS_MAX {
            look.lacks.push("not all processes were asked for their descriptors".to_owned());
            break;
        }
        let Ok(dir) = ProcDir::open(proc, id) else { continue };
        descriptors = descriptors.saturating_add(look.process(dir, tree));
    }
    if let Ok(own) = ProcDir::own(proc) {
        look.namespace(own);
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

impl Look {
    /// Notes one process; how many descriptors it has.
    fn process(&mut self, dir: ProcDir, tree: &Tree) -> usize {
        let text = |name| dir.text(name, TEXT_MAX).map(|(text, _)| text).unwrap_or_default();
        let image = tree.get(&dir.id()).and_then(|node| node.image());
        // The tree has it of a moment ago; on older kernels the unified hierarchy says little.
        let known = image.map(|image| image.cgroup.clone()).filter(|group| group.0.len() > 1);
        let mut standing = Standing {
            name: dir.stat.comm.clone(),
            executable: image.map(|image| image.executable.clone()).unwrap_or_default(),
            session: dir.stat.session,
            tracer: Status::parse(&text("status")).map_or(0, |status| status.tracer),
            cgroup: known.unwrap_or_else(|| cgroup(&text("cgroup"))),
            resident: dir.stat.rss.saturating_mul(page_size()),
            holds: Vec::new(),
        };
        let id = dir.id();
        let count = match dir.numbers("fd", FDS_MAX) {
            Ok((fds, whole)) => {
                if !whole {
                    self.lacks.push(format!("pid {} has more than {FDS_MAX} descriptors", id.pid));
                }
                for fd in &fds {
                    let link = dir.link(&format!("fd/{fd}")).unwrap_or_default();
                    if let Some(object) = Object::of_link(&link) {
                        self.around.holders.entry(object).or_default().push(Holder { process: id, fd: *fd });
                        standing.holds.push(object);
                    }
                }
                fds.len()
            }
            Err(error) => {
                self.lacks.push(format!("descriptors of pid {}: {error}", id.pid));
                0
            }
        };
        standing.holds.sort_unstable();
        standing.holds.dedup();
        self.around.standings.insert(id, standing);
        self.namespace(dir);
        count
    }

    /// Keeps one process of each network namespace.
    fn namespace(&mut self, dir: ProcDir) {
        let Some(namespace) = dir.link("ns/net").ok().and_then(|link| namespace_inode(&link)) else { return };
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
