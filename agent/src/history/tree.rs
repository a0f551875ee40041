//! Who begot whom: the process tree, with those that have exited.
//!
//! Lineage is the parent at birth, as the fork said it: when a parent exits, its children are not given to init.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Action, BootId, Event, Exit, Flow, Image, ProcessId, Stashed};

/// Bounds of a tree in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes; when there are more, the longest exited without living offspring go first.
    pub processes: usize,
    /// Bytes of memory, as far as they can be reckoned.
    pub bytes: usize,
    /// Images (executions) kept of one process: the first ones, and the newest in the last place.
    pub images: usize,
    /// Flows kept of one process: the first ones; the rest is counted.
    pub flows: usize,
    /// Bytes of one image's arguments; what is longer is cut, and `args_cut` says so.
    pub args: usize,
}

impl Bounds {
    /// What the recorder holds in memory.
    pub const RECORDER: Self = Self { processes: 10_000, bytes: 4 << 20, images: 8, flows: 32, args: 1024 };
    /// What a collector holds while it reads the history back from disk.
    pub const COLLECTOR: Self =
        Self { processes: 1_000_000, bytes: 1 << 30, images: 64, flows: 4096, args: 64 << 10 };
}

/// One process, living or exited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Which.
    pub id: ProcessId,
    /// Its parent at birth.
    pub parent: Option<ProcessId>,
    /// When it was first seen; its birth, where the fork was seen.
    pub seen: Timestamp,
    /// Whether `seen` is its birth.
    pub born: bool,
    /// What it ran, oldest first.
    pub images: Vec<(Timestamp, Image)>,
    /// Executions that are not among `images`.
    pub images_dropped: u64,
    /// Its end.
    pub exited: Option<(Timestamp, Exit)>,
    /// Its conversations, oldest first.
    pub flows: Vec<(Timestamp, FlowKind, Flow)>,
    /// Conversations that are not among `flows`.
    pub flows_dropped: u64,
    /// Its executables in the stash.
    pub stashed: Vec<Stashed>,
}

/// How a conversation began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// We asked for it.
    Connect,
    /// We accepted it.
    Accept,
    /// We began to listen.
    Listen,
    /// We sent the first datagram.
    Datagram,
}

impl Node {
    /// What it runs, or ran last.
    pub fn image(&self) -> Option<&Image> {
        self.images.last().map(|(_, image)| image)
    }

    /// Whether it may still live in this boot: one of an earlier boot does not, though its end was never seen.
    pub fn lives_in(&self, boot: BootId) -> bool {
        self.exited.is_none() && self.id.boot == boot
    }

    /// Keeps the first images and the newest, in the order of their time.
    fn add_image(&mut self, time: Timestamp, image: Image, limit: usize) {
        let at = self.images.partition_point(|(known, _)| *known <= time);
        // Most run one program only: room for one more at a time.
        self.images.reserve_exact(1);
        self.images.insert(at, (time, image));
        if self.images.len() > limit {
            let before_last = self.images.len().saturating_sub(2);
            self.images.remove(before_last);
            self.images_dropped = self.images_dropped.saturating_add(1);
        }
    }

    fn add_stashed(&mut self, stashed: &Stashed) {
        if !self.stashed.contains(stashed) && self.stashed.len() < 64 {
            self.stashed.reserve_exact(1);
            self.stashed.push(stashed.clone());
        }
    }

    fn new(id: ProcessId, parent: Option<ProcessId>, seen: Timestamp, born: bool) -> Self {
        Self {
            id,
            parent,
            seen,
            born,
            images: Vec::new(),
            images_dropped: 0,
            exited: None,
            flows: Vec::new(),
            flows_dropped: 0,
            stashed: Vec::new(),
        }
    }
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    bounds: Bounds,
    nodes: HashMap<ProcessId, Box<Node>>,
    children: BTreeMap<ProcessId, Vec<ProcessId>>,
    /// The exited, in the order in which their ends were told.
    exited: VecDeque<ProcessId>,
    /// Bytes of all nodes.
    bytes: usize,
    forgotten: u64,
}

impl Tree {
    /// An empty tree.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            nodes: HashMap::new(),
            children: BTreeMap::new(),
            exited: VecDeque::new(),
            bytes: 0,
            forgotten: 0,
        }
    }

    /// Takes in one event. Events may come in any order; what is known already is not made worse.
    pub fn apply(&mut self, event: &Event) {
        if matches!(
            event.action,
            Action::Close(_)
                | Action::Question(_)
                | Action::Call(_)
                | Action::Touch(_)
                | Action::Loss(_)
                | Action::Gap(_)
                | Action::Agent(_)
        ) {
            return;
        }
        // The end of a process changes nothing of its size.
        let grows = !matches!(event.action, Action::Exit(_)) || !self.nodes.contains_key(&event.process);
        let before = if grows { self.get(&event.process).map_or(0, size::of) } else { 0 };
        self.put(event);
        if grows {
            let after = self.get(&event.process).map_or(0, size::of);
            self.bytes = self.bytes.saturating_add(after).saturating_sub(before);
        }
        if self.bytes > self.bounds.bytes || self.nodes.len() > self.bounds.processes {
            self.forget();
        }
    }

    fn put(&mut self, event: &Event) {
        match &event.action {
            Action::Fork(fork) => {
                self.node(event, fork.parent).born = true;
            }
            Action::Exec(image) | Action::Running(image) => {
                let bounds = self.bounds;
                let node = self.node(event, image.parent);
                if let (Some(sha256), Some(size)) = (&image.sha256, image.size) {
                    let (sha256, executable) = (sha256.clone(), image.executable.clone());
                    node.add_stashed(&Stashed { sha256, size, executable });
                }
                let known = matches!(event.action, Action::Running(_)) && !node.images.is_empty();
                if !known {
                    node.add_image(event.time, shortened(image, bounds.args), bounds.images);
                }
            }
            Action::Exit(exit) => {
                let node = self.node(event, None);
                let is_news = node.exited.is_none();
                node.exited = Some((event.time, exit.clone()));
                if is_news {
                    self.exited.push_back(event.process);
                }
            }
            Action::Connect(flow) => self.flow(event, FlowKind::Connect, flow),
            Action::Accept(flow) => self.flow(event, FlowKind::Accept, flow),
            Action::Listen(flow) => self.flow(event, FlowKind::Listen, flow),
            Action::Datagram(flow) => self.flow(event, FlowKind::Datagram, flow),
            Action::Stash(stashed) => {
                self.node(event, None).add_stashed(stashed);
            }
            Action::Skip(_)
            | Action::Close(_)
            | Action::Question(_)
            | Action::Call(_)
            | Action::Touch(_)
            | Action::Loss(_)
            | Action::Gap(_)
            | Action::Agent(_) => {}
        }
    }

    /// One process.
    pub fn get(&self, id: &ProcessId) -> Option<&Node> {
        self.nodes.get(id).map(Box::as_ref)
    }

    /// All processes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(Box::as_ref)
    }

    /// The children of a process, oldest first.
    pub fn children(&self, id: &ProcessId) -> &[ProcessId] {
        self.children.get(id).map_or(&[], Vec::as_slice)
    }

    /// The parent, the parent's parent, and so on; ends where the parent is not known.
    pub fn ancestors(&self, id: &ProcessId) -> Vec<ProcessId> {
        let mut line = Vec::new();
        let mut next = self.get(id).and_then(|node| node.parent);
        // The bound ends a loop that damaged history could make.
        while let Some(parent) = next.filter(|_| line.len() < 1024) {
            line.push(parent);
            next = self.get(&parent).and_then(|node| node.parent);
        }
        line
    }

    /// The process and all that descend from it, parents before children.
    pub fn subtree(&self, id: &ProcessId) -> Vec<ProcessId> {
        let mut all = vec![*id];
        let mut seen: HashSet<ProcessId> = all.iter().copied().collect();
        let mut at = 0;
        while let Some(next) = all.get(at).copied() {
            all.extend(self.children(&next).iter().filter(|child| seen.insert(**child)).copied());
            at += 1;
        }
        all
    }

    /// The processes whose parent is not in the tree, oldest first.
    pub fn roots(&self) -> Vec<ProcessId> {
        let mut roots: Vec<&Node> = self
            .nodes()
            .filter(|node| node.parent.is_none_or(|parent| !self.nodes.contains_key(&parent)))
            .collect();
        roots.sort_by_key(|node| (node.seen, node.id));
        roots.iter().map(|node| node.id).collect()
    }

    /// How many processes are in it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes of memory that it takes, as far as they can be reckoned.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Exited processes that had to go.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn flow(&mut self, event: &Event, kind: FlowKind, flow: &Flow) {
        let limit = self.bounds.flows;
        let node = self.node(event, None);
        if node.flows.len() < limit {
            let at = node.flows.partition_point(|(time, ..)| *time <= event.time);
            node.flows.insert(at, (event.time, kind, flow.clone()));
        } else {
            node.flows_dropped = node.flows_dropped.saturating_add(1);
        }
    }

    fn node(&mut self, event: &Event, parent: Option<ProcessId>) -> &mut Node {
        let id = event.process;
        let node = self.nodes.entry(id).or_insert_with(|| Box::new(Node::new(id, None, event.time, false)));
        node.seen = node.seen.min(event.time);
        if node.parent.is_none() && parent.is_some_and(|parent| parent != id) {
            node.parent = parent;
            if let Some(parent) = parent {
                self.children.entry(parent).or_default().push(id);
            }
        }
        node
    }

    /// Makes room for a quarter: first go the exited without offspring, then the other exited, then the living; of each
    /// those that exited, or were seen first, longest ago.
    fn forget(&mut self) {
        let mut parents = HashSet::new();
        let mut with_offspring = VecDeque::new();
        while !self.has_room()
            && let Some(id) = self.exited.pop_front()
        {
            if self.children(&id).is_empty() {
                parents.extend(self.remove(&id));
            } else {
                with_offspring.push_back(id);
            }
        }
        while !self.has_room()
            && let Some(id) = with_offspring.pop_front()
        {
            parents.extend(self.remove(&id));
        }
        with_offspring.append(&mut self.exited);
        self.exited = with_offspring;
        if !self.has_room() {
            let mut living: Vec<_> = self.nodes().map(|node| (node.seen, node.id)).collect();
            living.sort_unstable();
            for (_, id) in living {
                if self.has_room() {
                    break;
                }
                parents.extend(self.remove(&id));
            }
        }
        self.bereave(parents);
    }

    /// Whether a quarter is free.
    fn has_room(&self) -> bool {
        self.bytes <= self.bounds.bytes / 4 * 3 && self.nodes.len() <= self.bounds.processes / 4 * 3
    }

    /// Forgets a process; its parent.
    fn remove(&mut self, id: &ProcessId) -> Option<ProcessId> {
        let node = self.nodes.remove(id)?;
        self.bytes = self.bytes.saturating_sub(size::of(&node));
        self.forgotten = self.forgotten.saturating_add(1);
        self.children.remove(id);
        node.parent
    }

    /// Children that are forgotten are none of these parents' any more.
    fn bereave(&mut self, parents: HashSet<ProcessId>) {
        for parent in parents {
            let Some(children) = self.children.get_mut(&parent) else { continue };
            children.retain(|child| self.nodes.contains_key(child));
            children.shrink_to_fit();
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
    }
}

/// What things take of memory: their own bytes, and of each allocation what the allocator adds.
mod size {
    use super::{Flow, FlowKind, Image, Node, ProcessId, Stashed, Timestamp};
    use crate::text::Bytes;

    const ALLOCATION: usize = 16;
    /// A node's places in the two maps, which are half empty on average.
    const PLACES: usize = 4 * size_of::<ProcessId>() + 2 * size_of::<usize>();

    pub(super) fn of(node: &Node) -> usize {
        let images: usize = node.images.iter().map(|(_, image)| of_image(image)).sum();
        let stashed: usize =
            node.stashed.iter().map(|kept| kept.sha256.len() + of_bytes(&kept.executable)).sum();
        let lists = node.images.capacity() * size_of::<(Timestamp, Image)>()
            + node.flows.capacity() * size_of::<(Timestamp, FlowKind, Flow)>()
            + node.stashed.capacity() * size_of::<Stashed>();
        PLACES + size_of::<Node>() + 4 * ALLOCATION + images + stashed + lists
    }

    fn of_image(image: &Image) -> usize {
        let texts =
            [&image.name, &image.executable, &image.filename, &image.working_directory, &image.cgroup];
        let args = image.args.capacity() * size_of::<Bytes>();
        texts.into_iter().chain(&image.args).map(of_bytes).sum::<usize>() + args + ALLOCATION
    }

    fn of_bytes(bytes: &Bytes) -> usize {
        if bytes.0.capacity() == 0 { 0 } else { bytes.0.capacity() + ALLOCATION }
    }
}

/// `image` with at most `limit` bytes of arguments.
fn shortened(image: &Image, limit: usize) -> Image {
    let mut room = limit;
    let mut fits = |argument: &&crate::text::Bytes| -> bool {
        let left = room.checked_sub(argument.0.len().saturating_add(size_of::<Vec<u8>>()));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let args: Vec<_> = image.args.iter().take_while(|argument| fits(argument)).cloned().collect();
    let args_cut = image.args_cut || args.len() < image.args.len();
    Image { args, args_cut, ..image.clone() }
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
