//! Draining the ring: records become events, in the order they were written on each cpu.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::time::{ClockId, clock_gettime};

use super::loss::Ledger;
use super::record::{Frame, decode};
use crate::event::{Action, BootId, Event, Image, ProcessId, Source};
use crate::text::Bytes;

/// Ends remembered, to drop the second record of two threads that end a process together.
const ENDS: usize = 1024;
/// Paths of cgroups remembered; the probe tells each once, and again when it has forgotten that it did.
const CGROUPS: usize = 4096;
/// Records that one drain takes at most: whoever floods the ring must not keep its reader from everything else.
pub const ROUND: usize = 16_384;
/// Rounds after which a ring that was full at the beginning has been emptied once: 32 MiB of the smallest records.
pub const RING_ROUNDS: usize = 40;

/// The agent's end of the ring.
pub(super) struct Ring {
    map: RingBuf<MapData>,
    /// Becomes readable when a record asks for it: the ring itself is, whenever anything is in it.
    wake: Epoll,
    boot: BootId,
    ends: VecDeque<ProcessId>,
    ended: HashSet<ProcessId>,
    /// The newer and the older ones: when there are too many, those that were not asked for go.
    cgroups: [HashMap<u64, Bytes>; 2],
}

impl Ring {
    /// Takes the map over.
    pub(super) fn new(map: RingBuf<MapData>, boot: BootId) -> Result<Self, Errno> {
        let wake = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        wake.add(&map, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Self {
            map,
            wake,
            boot,
            ends: VecDeque::with_capacity(ENDS),
            ended: HashSet::with_capacity(ENDS),
            cgroups: Default::default(),
        })
    }

    /// Hands the records that are there to `sink`, at most `most`; how many.
    pub(super) fn drain(&mut self, most: usize, ledger: &mut Ledger, sink: &mut dyn FnMut(Event)) -> usize {
        // What asked to be taken is taken now.
        if let Err(error) = self.wake.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) {
            tracing::debug!(%error, "the ring's wake-up could not be cleared");
        }
        let frame = Frame { boot: self.boot, offset: wall_clock_offset() };
        let mut records = 0;
        while records < most
            && let Some(event) = self.map.next().map(|record| decode(&record, frame))
        {
            records += 1;
            let Some(mut event) = event else {
                ledger.undecodable += 1;
                continue;
            };
            if let Source::Probe { cpu, seq } = event.source {
                ledger.came(cpu, seq);
            }
            if let Action::Exec(image) = &mut event.action {
                self.name_cgroup(image);
            }
            if !matches!(event.action, Action::Exit(_)) || self.first_end(event.process) {
                sink(event);
            }
        }
        records
    }

    /// The path that an earlier record told of the same cgroup; the id stays only where there is none.
    fn name_cgroup(&mut self, image: &mut Image) {
        let Some(id) = image.cgroup_id else { return };
        let [newer, older] = &mut self.cgroups;
        if image.cgroup.is_empty() {
            let Some(path) = newer.get(&id).or_else(|| older.get(&id)) else { return };
            image.cgroup = path.clone();
        }
        if newer.get(&id) != Some(&image.cgroup) {
            if newer.len() >= CGROUPS {
                *older = std::mem::take(newer);
            }
            newer.insert(id, image.cgroup.clone());
        }
        image.cgroup_id = None;
    }

    fn first_end(&mut self, process: ProcessId) -> bool {
        if !self.ended.insert(process) {
            return false;
        }
        if self.ends.len() >= ENDS
            && let Some(oldest) = self.ends.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ends.push_back(process);
        true
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.0.as_fd()
    }
}

/// Wall clock minus boot-time clock, in ns, now. Both clocks are read within a microsecond; a later step of the wall
/// clock changes the time of later events only.
fn wall_clock_offset() -> i128 {
    let read = |clock| {
        clock_gettime(clock)
            .map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME)
}
