//! The kernel's own list of processes, which is made by the probe while it is read: nobody who edits what /proc shows has a
//! part in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use afterimage_ebpf::Process;
use afterimage_ebpf::field::Group;
use aya::Ebpf;
use aya::programs::Iter;

use super::layout::Layout;
use super::program::words;
use super::record::TICK;
use super::report::{Fate, ProgramReport};
use crate::system::bpf;

/// Its name in the probe's object.
const NAME: &str = "tasks";
/// Bytes of one thread in the list.
const ENTRY: usize = size_of::<Process>();
/// Bytes of a list at most: as many threads as there can be pids (`PID_MAX_LIMIT`).
const LIST_MAX: u64 = 4_194_304 * 16;

/// The linked program. Whoever has it can read a list, in its own PID namespace.
#[derive(Debug)]
pub struct Tasks(OwnedFd);

/// Pids, and when each began, in clock ticks since the boot as in /proc/PID/stat.
pub type List = BTreeMap<u32, u64>;

impl Tasks {
    /// Loads and links the program; what became of it.
    pub(super) fn start(ebpf: &mut Ebpf, layout: &Layout, types: &aya::Btf) -> (Option<Self>, ProgramReport) {
        let linked = match layout.refused(&[Group::Core]).first() {
            Some(reason) => Err(reason.clone()),
            None => link(ebpf, types),
        };
        let id = ebpf.program(NAME).and_then(|program| Some(program.info().ok()?.id()));
        let (tasks, fate) = match linked {
            Ok(link) => (Some(Self(link)), Fate::Attached),
            Err(reason) => (None, Fate::Missing(reason)),
        };
        let shows = "processes that hide from /proc";
        (
            tasks,
            ProgramReport { name: NAME, shows, hook: "iter/task", instead: None, fate, id, self_check: None },
        )
    }

    /// What is there now.
    pub fn list(&self) -> io::Result<List> {
        let mut bytes = Vec::new();
        File::from(bpf::walk(self.0.as_fd())?).take(LIST_MAX).read_to_end(&mut bytes)?;
        Ok(parse(&bytes))
    }
}

/// From another process of the agent, which inherited it.
impl From<OwnedFd> for Tasks {
    fn from(link: OwnedFd) -> Self {
        Self(link)
    }
}

impl AsFd for Tasks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn link(ebpf: &mut Ebpf, types: &aya::Btf) -> Result<OwnedFd, String> {
    let program = ebpf.program_mut(NAME).ok_or("it is not in the probe's object")?;
    let program: &mut Iter = program.try_into().map_err(words)?;
    program.load("task", types).map_err(words)?;
    bpf::link_iterator(program.fd().map_err(words)?.as_fd()).map_err(words)
}

/// The processes of a list. What is not a whole entry is none.
fn parse(bytes: &[u8]) -> List {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    let process = |entry: &[u8; ENTRY]| {
        let (start, rest) = entry.split_first_chunk::<8>()?;
        let pid = rest.first_chunk::<4>()?;
        Some((u32::from_ne_bytes(*pid), u64::from_ne_bytes(*start) / TICK))
    };
    entries.iter().filter_map(process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_there_once_and_half_an_entry_is_none() {
        let entry = |pid: u32, start: u64| {
            let zero = 0_u32;
            [&start.to_ne_bytes()[..], &pid.to_ne_bytes(), &zero.to_ne_bytes()].concat()
        };
        let bytes = [entry(7, 70 * TICK), entry(7, 70 * TICK + 1), entry(9, 90 * TICK)].concat();
        assert_eq!(parse(&bytes), BTreeMap::from([(7, 70), (9, 90)]));
        assert_eq!(parse(&bytes[..bytes.len() - 1]), BTreeMap::from([(7, 70)]));
        assert_eq!(parse(&bytes[..15]), BTreeMap::new());
        assert_eq!(parse(b""), BTreeMap::new());
    }
}
