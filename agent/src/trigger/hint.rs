//! What a trigger says of a process, held against one process.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::Target;
use super::said::Said;
use crate::event::{BootId, Flow, Image, ProcessId};
use crate::history::tree::{FlowKind, Node, Tree};
use crate::text::{self, Bytes};

/// How far two clocks may be apart, and how late a detector may notice a birth, in seconds.
const CLOCK_S: i64 = 60;
/// How far a start time may be from ours: ticks of 10 ms, and clocks that are being corrected.
const START_MS: i64 = 1_000;
/// How far up a socket may have been opened that a process inherited.
const GENERATIONS: usize = 8;
/// What the kernel keeps of a short name.
const COMM: usize = 15;

/// One thing that can be said of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Pid,
    Start,
    Exe,
    Cmdline,
    Name,
    User,
    Container,
    Remote,
    Time,
}

impl Hint {
    pub(super) const ALL: [Self; 9] = [
        Self::Pid,
        Self::Start,
        Self::Exe,
        Self::Cmdline,
        Self::Name,
        Self::User,
        Self::Container,
        Self::Remote,
        Self::Time,
    ];
}

/// How a process stands to one hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was said, or nothing is known of the process that could be compared.
    #[default]
    Open,
    /// It fits, so well.
    Fits(u32),
    /// It does not.
    Contradicts,
}

use Verdict::{Contradicts, Fits, Open};

/// A process, held against all hints.
#[derive(Clone, Debug)]
pub(super) struct Judged<'t> {
    pub(super) node: &'t Node,
    verdicts: [Verdict; Hint::ALL.len()],
    /// Seconds between the alert and the process's life; 0 when it lived then.
    pub(super) distance_s: u64,
}

impl Judged<'_> {
    fn verdict(&self, hint: Hint) -> Verdict {
        let at = Hint::ALL.iter().position(|&other| other == hint);
        at.and_then(|at| self.verdicts.get(at)).copied().unwrap_or_default()
    }

    /// Whether anything but its user and its time speaks for it.
    pub(super) fn is_pointed_at(&self) -> bool {
        let weak = [Hint::User, Hint::Time, Hint::Start];
        Hint::ALL.iter().any(|hint| !weak.contains(hint) && matches!(self.verdict(*hint), Fits(_)))
    }

    pub(super) fn fits_all(&self) -> bool {
        !self.verdicts.contains(&Contradicts)
    }

    pub(super) fn score(&self) -> u32 {
        self.verdicts.iter().map(|verdict| if let Fits(weight) = verdict { *weight } else { 0 }).sum()
    }

    /// The score without what only ranks.
    pub(super) fn relaxed_score(&self) -> u32 {
        let time = if let Fits(weight) = self.verdict(Hint::Time) { weight } else { 0 };
        self.score().saturating_sub(time)
    }
}

/// Everything a trigger says of a process, made ready to be compared with very many.
#[derive(Debug)]
pub(super) struct Hints<'t> {
    target: &'t Target,
    exe: Option<Said<'t>>,
    cmdline: Option<Said<'t>>,
    tree: &'t Tree,
    time: Timestamp,
    /// Wall time at which each boot began, from processes whose birth was seen.
    boots: HashMap<BootId, Timestamp>,
    /// Who spoke with the remote address.
    peers: HashSet<ProcessId>,
    /// Whether they did so at the port that is said; nobody did, otherwise.
    at_port: bool,
    /// Whether the remote address is all that is said.
    remote_only: bool,
}

impl<'t> Hints<'t> {
    /// `None` when nothing is said that points to a process.
    pub(super) fn new(target: &'t Target, time: Timestamp, tree: &'t Tree) -> Option<Self> {
        let image = target.exe.is_some()
            || target.cmdline.is_some()
            || target.process_name.is_some()
            || target.container_id.is_some();
        let points = image || target.pid.is_some();
        if target.whole_host || !(points || target.remote_ip.is_some()) {
            return None;
        }
        let start_of = |node: &Node| {
            let up = jiff::SignedDuration::from_millis(i64::try_from(node.id.start).ok()?.checked_mul(10)?);
            node.seen.checked_sub(up).ok()
        };
        let born = tree.nodes().filter(|node| node.born);
        let boots = born.filter_map(|node| Some((node.id.boot, start_of(node)?))).collect();
        let peers_at = |port: Option<u16>| -> HashSet<ProcessId> {
            let Some(ip) = target.remote_ip else { return HashSet::new() };
            tree.nodes().filter(|node| speaks_with(node, ip, port)).map(|node| node.id).collect()
        };
        let exact = peers_at(target.remote_port);
        let at_port = !exact.is_empty() || target.remote_port.is_none();
        let peers = if at_port { exact } else { peers_at(None) };
        let (exe, cmdline) = (target.exe.as_ref().map(Said::new), target.cmdline.as_ref().map(Said::new));
        Some(Self { target, exe, cmdline, tree, time, boots, peers, at_port, remote_only: !points })
    }

    /// Holds a process, and each image it had, against the hints.
    pub(super) fn judge(&self, node: &'t Node) -> Judged<'t> {
        let (time, distance_s) = self.time(node);
        let whole = [self.pid(node), self.start(node), self.remote(node), time];
        let with = |image: Option<&'t Image>| {
            let [exe, cmdline, name, user, container] = image.map_or([Open; 5], |image| self.image(image));
            let [pid, start, remote, time] = whole;
            let verdicts = [pid, start, exe, cmdline, name, user, container, remote, time];
            Judged { node, verdicts, distance_s }
        };
        let mut images: Vec<&Image> = node.images.iter().map(|(_, image)| image).collect();
        images.extend(self.inherited(node));
        let rank = |judged: &Judged<'_>| {
            let against = judged.verdicts.iter().filter(|&&verdict| verdict == Contradicts).count();
            (std::cmp::Reverse(against), judged.score())
        };
        images.into_iter().map(|image| with(Some(image))).max_by_key(rank).unwrap_or_else(|| with(None))
    }

    /// What a process that never executed anything runs: what its parent ran when it was forked.
    fn inherited(&self, node: &Node) -> Option<&'t Image> {
        if !node.images.is_empty() {
            return None;
        }
        let (mut born, mut parent) = (node.seen, node.parent);
        for _ in 0..GENERATIONS {
            let ancestor = self.tree.get(&parent?)?;
            if !ancestor.images.is_empty() {
                let before = ancestor.images.iter().rev().find(|(time, _)| *time <= born);
                return before.or(ancestor.images.first()).map(|(_, image)| image);
            }
            (born, parent) = (ancestor.seen, ancestor.parent);
        }
        None
    }

    fn pid(&self, node: &Node) -> Verdict {
        match self.target.pid {
            None => Open,
            Some(pid) if pid == node.id.pid => Fits(100),
            Some(_) => Contradicts,
        }
    }

    fn start(&self, node: &Node) -> Verdict {
        let (Some(said), Some(start)) = (self.target.process_start, self.start_of(node)) else { return Open };
        let apart = said.duration_since(start).as_millis().abs();
        if apart <= i128::from(START_MS) { Fits(100) } else { Contradicts }
    }

    /// When a process started, on the wall clock: seen, or reckoned from its ticks.
    fn start_of(&self, node: &Node) -> Option<Timestamp> {
        if node.born {
            return Some(node.seen);
        }
        let up = jiff::SignedDuration::from_millis(i64::try_from(node.id.start).ok()?.checked_mul(10)?);
        self.boots.get(&node.id.boot)?.checked_add(up).ok()
    }

    /// When the next boot began: whoever lived in this one had ended by then.
    fn end_of_boot(&self, boot: BootId) -> Option<Timestamp> {
        let began = self.boots.get(&boot)?;
        self.boots.values().filter(|other| *other > began).min().copied()
    }

    /// Near in time is better; who was born after the alert is not meant.
    fn time(&self, node: &Node) -> (Verdict, u64) {
        let begin = self.start_of(node).unwrap_or(node.seen);
        let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs();
        let early = seconds(self.time, begin);
        let end = node.exited.as_ref().map(|(end, _)| *end).or_else(|| self.end_of_boot(node.id.boot));
        let late = end.map_or(0, |end| seconds(end, self.time));
        let known = node.born || self.boots.contains_key(&node.id.boot);
        let distance = early.max(late).max(0);
        let verdict = match distance {
            0 => Fits(10),
            1..=CLOCK_S => Fits(8),
            _ if early > CLOCK_S && known => Contradicts,
            61..=600 => Fits(6),
            601..=7200 => Fits(3),
            _ => Open,
        };
        (verdict, distance.unsigned_abs())
    }

    fn remote(&self, node: &Node) -> Verdict {
        if self.target.remote_ip.is_none() {
            return Open;
        }
        if self.peers.contains(&node.id) {
            return Fits(if self.at_port { 60 } else { 30 });
        }
        // A socket is inherited: the shell at the end of a connection seldom opened it itself.
        let ancestors = || self.ancestors(node).any(|ancestor| self.peers.contains(&ancestor));
        match () {
            () if !self.remote_only && ancestors() => Fits(20),
            () if node.flows_dropped > 0 => Open,
            () => Contradicts,
        }
    }

    fn ancestors(&self, node: &Node) -> impl Iterator<Item = ProcessId> {
        let next = |id: &ProcessId| self.tree.get(id).and_then(|node| node.parent);
        std::iter::successors(node.parent, next).take(GENERATIONS)
    }

    fn image(&self, image: &Image) -> [Verdict; 5] {
        let Target { process_name, uid, container_id, .. } = self.target;
        [
            self.exe.map_or(Open, |said| said.is_path_of(image)),
            self.cmdline.map_or(Open, |said| said.is_command_line_of(image)),
            process_name.as_ref().map_or(Open, |said| name(said.as_slice(), image)),
            uid.map_or(Open, |said| if said == image.uid { Fits(15) } else { Contradicts }),
            container_id.as_ref().map_or(Open, |said| container(said, image.cgroup.as_slice())),
        ]
    }

    /// One hint's part of the reasons.
    pub(super) fn explain(&self, judged: &Judged<'_>, hint: Hint) -> Option<String> {
        let but = match judged.verdict(hint) {
            Open => return None,
            Fits(_) => "",
            Contradicts => "but not ",
        };
        let target = self.target;
        let shown = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| text::escape(bytes.as_slice()));
        Some(match hint {
            Hint::Pid => format!("{but}pid {}", target.pid?),
            Hint::Start => format!("{but}started at {}", target.process_start?),
            Hint::Exe => format!("{but}executable {}", shown(&target.exe)?),
            Hint::Cmdline => format!("{but}command line {}", shown(&target.cmdline)?),
            Hint::Name => format!("{but}name {}", shown(&target.process_name)?),
            Hint::User => format!("{but}user {}", target.uid?),
            Hint::Container => format!("{but}container {}", target.container_id.as_ref()?),
            Hint::Remote => {
                let inherited = !self.peers.contains(&judged.node.id) && but.is_empty();
                let port = target.remote_port.map_or_else(String::new, |port| {
                    format!(" {}port {port}", if self.at_port { "" } else { "but not " })
                });
                let how = if inherited { " (an ancestor's connection)" } else { "" };
                format!("{but}connected with {}{port}{how}", target.remote_ip?)
            }
            Hint::Time if but.is_empty() && judged.distance_s == 0 => "alive at the alert's time".to_owned(),
            Hint::Time if but.is_empty() => format!("{} s from the alert's time", judged.distance_s),
            Hint::Time => format!("but started {} s after the alert", judged.distance_s),
        })
    }
}

fn name(said: &[u8], image: &Image) -> Verdict {
    let is_last_of =
        |path: &Bytes| path.as_slice().strip_suffix(said).is_some_and(|head| head.ends_with(b"/"));
    match () {
        () if short(said) == short(image.name.as_slice()) => Fits(20),
        () if is_last_of(&image.executable) || is_last_of(&image.filename) => Fits(15),
        () if image.name.is_empty() => Open,
        () => Contradicts,
    }
}

fn short(name: &[u8]) -> &[u8] {
    name.get(..COMM).unwrap_or(name)
}

/// A container's id is a run of hexadecimal digits in the path of its cgroup, whoever runs it.
fn container(said: &str, cgroup: &[u8]) -> Verdict {
    if cgroup.is_empty() {
        return Open;
    }
    let mut runs = cgroup.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= 12);
    if runs.any(|run| run.starts_with(said.as_bytes())) { Fits(50) } else { Contradicts }
}

fn speaks_with(node: &Node, ip: IpAddr, port: Option<u16>) -> bool {
    let ip = ip.to_canonical();
    let fits = |flow: &Flow| {
        flow.remote.ip().to_canonical() == ip && port.is_none_or(|port| flow.remote.port() == port)
    };
    node.flows.iter().any(|(_, kind, flow)| *kind != FlowKind::Listen && fits(flow))
}
