//! The probe, loaded and attached.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afterimage_ebpf::field::Group;
use afterimage_ebpf::{INITIAL_PID_NAMESPACE, RING_BYTES, config, kind, state};
use aya::maps::{Array, Map, MapData, MapError, RingBuf};
use aya::{Ebpf, EbpfLoader, Endianness, VerifierLogLevel};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::attaching::Attaching;
use super::btf::{self, Btf};
use super::layout::Layout;
use super::loss::{Cell, Counts, Ledger};
use super::program::{self, PROGRAMS, Wishes};
use super::report::{Fate, Report};
use super::ring::{ROUND, Ring};
use super::tasks::Tasks;
use super::{Error, call, selfcheck};
use crate::event::{BootId, Event, Loss};
use crate::proc::namespace_inode;
use crate::system::{bpf, bpf_try};
use crate::text::hex;
use crate::thaw;

/// The object that `cargo xtask ebpf` builds from ebpf/.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/built/probe.o");

pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Events kept while the self-check goes on; what comes beyond them is lost, and counted.
const EARLY: usize = 65_536;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// This boot.
    pub boot: BootId,
    /// Where /proc is mounted.
    pub proc_root: PathBuf,
    /// Bytes of the ring between kernel and agent: a power of two, and a multiple of the page size.
    pub ring_bytes: u32,
    /// Whether a process whose executable has no file is stopped until it was taken.
    pub hold: bool,
    /// Whether it is seen what processes ask the kernel for.
    pub calls: bool,
    /// Whether questions to name servers are seen.
    pub questions: bool,
}

impl Options {
    /// With a ring of the ordinary size, and without stopping anybody.
    pub fn new(boot: BootId, proc_root: PathBuf) -> Self {
        Self { boot, proc_root, ring_bytes: RING_BYTES, hold: false, calls: true, questions: true }
    }
}

/// The attached programs and their ring. Dropping it detaches them.
pub struct Probe {
    ebpf: Ebpf,
    ring: Ring,
    counts: MapData,
    state: Array<MapData, u64>,
    held: MapData,
    /// What the probe has learnt of the agent's namespace; nobody else has any business with it.
    learnt: [u64; 2],
    ledger: Ledger,
    report: Report,
    attaching: Attaching,
    tasks: Option<Arc<Tasks>>,
    /// Events that came during the self-check and are not its own.
    early: VecDeque<Event>,
}

impl Probe {
    /// Reads the kernel's types, loads, attaches what the kernel allows, and checks each program against /proc.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let types = read_types(Path::new(VMLINUX))?;
        let btf = Btf::parse(&types)?;
        let layout = Layout::resolve(&btf);
        if let Some(reason) = layout.refused(&[Group::Core]).first() {
            return Err(Error::Layout(reason.clone()));
        }
        let namespace = own_namespace(&options.proc_root)?;
        let wishes =
            Wishes { calls: options.calls, questions: options.questions, returns: bpf_try::fentry().is_ok() };
        let mut ebpf = load(&layout, namespace, options, wishes)?;
        let known = aya::Btf::parse(&types, Endianness::default())
            .map_err(|error| Error::Types(error.to_string()))?;
        let mut programs = program::attach_all(&mut ebpf, &layout, &btf, &known, wishes);
        let (tasks, listed) = Tasks::start(&mut ebpf, &layout, &known);
        programs.push(listed);
        let report = Report {
            kernel_release: nix::sys::utsname::uname()
                .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned()),
            btf_sha256: hex(&Sha256::digest(&types)),
            probe_sha256: hex(&Sha256::digest(OBJECT)),
            pid_namespace: namespace,
            pid_namespace_level: None,
            offsets: layout.found.iter().copied().collect(),
            refused_fields: layout.all_refused(),
            maps: map_ids(&ebpf),
            programs,
        };
        let seen = report.is_attached("exec") || report.is_attached("fork");
        let mut probe = Self {
            ring: Ring::new(map(&mut ebpf, "RING", RingBuf::try_from)?, options.boot).map_err(Error::Wake)?,
            held: map(&mut ebpf, "HELD", hash_data)?,
            learnt: [0; 2],
            counts: map(&mut ebpf, "COUNTS", per_cpu_data)?,
            state: map(&mut ebpf, "STATE", Array::try_from)?,
            ledger: Ledger::new(Timestamp::now()),
            early: VecDeque::new(),
            attaching: Attaching::start(program::waiting(&ebpf, &report.programs)),
            tasks: tasks.map(Arc::new),
            ebpf,
            report,
        };
        if !seen {
            return Err(Error::Blind(probe.report.blind_spots().join("; ")));
        }
        selfcheck::run(&mut probe, options);
        probe.report.pid_namespace_level = probe.level();
        probe.learnt = probe.words();
        Ok(probe)
    }

    /// How deep the agent's PID namespace is; `None` before it is known.
    fn level(&self) -> Option<u32> {
        if self.report.pid_namespace == INITIAL_PID_NAMESPACE {
            return Some(0);
        }
        let level = self.state.get(&state::LEVEL, 0).ok()?;
        level.checked_sub(1).and_then(|level| level.try_into().ok())
    }

    /// How it came to see what it sees.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Hands the records that are in the ring to `sink`, as events, at most 16,384; how many. As many as that: there may
    /// be more, come back. Records that are none are counted.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Event)) -> usize {
        let early = self.early.len().min(ROUND);
        self.early.drain(..early).for_each(&mut *sink);
        self.ring.drain(ROUND.saturating_sub(early), &mut self.ledger, sink).saturating_add(early)
    }

    /// As [`drain`](Self::drain), for the self-check: adds the events that are `wanted` to `found`, and keeps the others
    /// for the recorder.
    pub(super) fn look(&mut self, wanted: &dyn Fn(&Event) -> bool, found: &mut Vec<Event>) -> usize {
        let Self { ring, ledger, early, .. } = self;
        let mut unkept = 0;
        let records = ring.drain(ROUND, ledger, &mut |event| {
            if wanted(&event) {
                found.push(event);
            } else if early.len() < EARLY {
                early.push_back(event);
            } else {
                unkept += 1;
            }
        });
        self.ledger.unkept += unkept;
        records
    }

    /// What was lost since the last call, by place, kind and cpu; ends now.
    pub fn losses(&mut self) -> Vec<Loss> {
        self.attaching.settle(&mut self.report);
        let (cells, skipped) = (self.cells().unwrap_or_default(), self.skipped());
        self.ledger.losses(&cells, &skipped, Timestamp::now())
    }

    /// Records attempted, submitted and lost since the start.
    pub fn counts(&self) -> Counts {
        self.ledger.counts(self.cells().as_deref(), &self.skipped())
    }

    fn words(&self) -> [u64; 2] {
        [state::LEVEL, state::NAMESPACE].map(|word| self.state.get(&word, 0).unwrap_or(0))
    }

    /// Whether what the probe knows of the agent's namespace was changed by somebody, without which it sees nobody; it is
    /// set right again.
    pub fn was_misled(&mut self) -> bool {
        if self.words() == self.learnt {
            return false;
        }
        for (word, value) in [state::LEVEL, state::NAMESPACE].into_iter().zip(self.learnt) {
            if let Err(error) = self.state.set(word, value, 0) {
                tracing::error!(%error, "the probe's map cannot be set right");
            }
        }
        true
    }

    /// Tells the probe that somebody is there to let go whom it stops. To be called at least every second.
    pub fn beat(&mut self) {
        let now = u64::try_from(thaw::boot_time().as_nanos()).unwrap_or(u64::MAX);
        if let Err(error) = self.state.set(state::HEARTBEAT, now, 0) {
            tracing::warn!(%error, "the probe could not be told that the recorder is there; it stops nobody");
        }
    }

    /// The list of who is stopped, for [`thaw::Held`].
    pub fn held(&self) -> io::Result<OwnedFd> {
        self.held.fd().as_fd().try_clone_to_owned()
    }

    /// The kernel's own list of processes, where it can be had.
    pub fn tasks(&self) -> Option<Arc<Tasks>> {
        self.tasks.clone()
    }

    /// Becomes readable when a record asks for a wake-up: when somebody is stopped, the reader is idle, or the ring is
    /// filling.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Says whether the reader sleeps on [`as_fd`](Self::as_fd). After saying so, drain once more before sleeping:
    /// a record may have come in between. While it is not idle the reader drains every 5 to 10 ms by itself.
    pub fn set_idle(&mut self, idle: bool) {
        // A failure leaves the reader with a poll timeout, which it has anyway.
        if let Err(error) = self.state.set(state::IDLE, u64::from(idle), 0) {
            tracing::warn!(%error, "the probe could not be told whether its reader sleeps");
        }
    }

    /// Writes down what the self-check found; a program that disagreed is taken off.
    pub(super) fn judge(&mut self, name: &str, verdict: selfcheck::Verdict) {
        let Some(report) = self.report.programs.iter_mut().find(|report| report.name == name) else {
            return;
        };
        match verdict {
            selfcheck::Verdict::Agrees(compared) => report.self_check = Some(compared),
            selfcheck::Verdict::Unchecked(reason) => {
                report.self_check = Some(format!("not checked: {reason}"));
            }
            selfcheck::Verdict::Disagrees(difference) => {
                report.self_check = Some(difference.clone());
                report.fate = Fate::Detached(difference);
                program::detach(&mut self.ebpf, name);
            }
        }
    }

    /// Runs and kernel time of each attached program since it was loaded, as far as somebody has the kernel count them
    /// (`BPF_ENABLE_STATS`, or the sysctl kernel.bpf_stats_enabled).
    pub fn cost(&self) -> Vec<(&'static str, u64, Duration)> {
        let programs = PROGRAMS.iter().filter_map(|program| {
            let info = self.ebpf.program(program.name)?.info().ok()?;
            Some((program.name, info.run_count(), info.run_time()))
        });
        programs.collect()
    }

    /// What the kernel counted, by kind and cpu; `None` when it does not tell.
    fn cells(&self) -> Option<Vec<Vec<Cell>>> {
        let map = self.counts.fd().as_fd();
        let cells: io::Result<_> = (0..kind::COUNT).map(|kind| bpf::per_cpu(map, kind)).collect();
        cells.inspect_err(|error| tracing::error!(%error, "the probe's counters cannot be read")).ok()
    }

    fn skipped(&self) -> Vec<(&'static str, u64)> {
        PROGRAMS
            .iter()
            .filter_map(|program| {
                let loaded = self.ebpf.program(program.name)?.fd().ok()?;
                Some((program.name, bpf::recursion_misses(loaded.as_fd())?))
            })
            .collect()
    }
}

fn read_types(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| unreadable(path, source);
    let mut types = Vec::new();
    File::open(path).and_then(|file| file.take(btf::LARGEST).read_to_end(&mut types)).map_err(failed)?;
    Ok(types)
}

/// Where only root may read the types, the bare error would not say what to do.
fn unreadable(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        return Error::Denied { path, source };
    }
    Error::File { step: "reading the kernel's types (CONFIG_DEBUG_INFO_BTF)", path, source }
}

fn own_namespace(proc_root: &Path) -> Result<u32, Error> {
    use std::os::unix::ffi::OsStrExt;
    let (step, path) = ("finding the agent's PID namespace", proc_root.join("self/ns/pid"));
    let link =
        std::fs::read_link(&path).map_err(|source| Error::File { step, path: path.clone(), source })?;
    namespace_inode(link.as_os_str().as_bytes()).ok_or(Error::Text { step, path })
}

fn load(layout: &Layout, namespace: u32, options: &Options, wishes: Wishes) -> Result<Ebpf, Error> {
    bpf::lift_memory_lock_limit();
    let (calls, compat_calls) = call::tables(!wishes.returns, wishes.calls);
    let mut settings = [0; config::COUNT];
    for (index, value) in [
        (config::NAMESPACE, namespace),
        (config::PRESSING, options.ring_bytes / 4),
        (config::JOINED, u32::from(layout.is_joined())),
        (config::HOLD, u32::from(options.hold)),
    ] {
        if let Some(place) = settings.get_mut(index) {
            *place = value;
        }
    }
    EbpfLoader::new()
        .btf(None)
        .verifier_log_level(VerifierLogLevel::DEBUG)
        .override_global("OFFSETS", &layout.offsets, true)
        .override_global("CONFIG", &settings, true)
        .override_global("CALLS", &calls, true)
        .override_global("COMPAT_CALLS", &compat_calls, true)
        .map_max_entries("RING", options.ring_bytes)
        .load(OBJECT)
        .map_err(|error| Error::Load(Box::new(error)))
}

fn map<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    open: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Object(name))?;
    open(map).map_err(|source| Error::Map { name, source: Box::new(source) })
}

/// Numbers of the maps that somebody else could write to; the others are frozen.
fn map_ids(ebpf: &Ebpf) -> BTreeMap<String, u32> {
    let id = |map: &Map| match map {
        Map::RingBuf(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data) => data.info().ok().map(|info| info.id()),
        _ => None,
    };
    ebpf.maps().filter_map(|(name, map)| Some((name.to_owned(), id(map)?))).collect()
}

fn hash_data(map: Map) -> Result<MapData, MapError> {
    match map {
        Map::HashMap(data) => Ok(data),
        _ => Err(MapError::InvalidMapType { map_type: 0 }),
    }
}

fn per_cpu_data(map: Map) -> Result<MapData, MapError> {
    match map {
        Map::PerCpuArray(data) => Ok(data),
        _ => Err(MapError::InvalidMapType { map_type: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_root_the_error_says_what_is_needed() {
        let words = |errno| unreadable(Path::new(VMLINUX), io::Error::from_raw_os_error(errno)).to_string();
        for errno in [libc::EACCES, libc::EPERM] {
            let denied = words(errno);
            assert!(
                denied.contains(VMLINUX) && denied.contains("root (or CAP_BPF and CAP_PERFMON)"),
                "{denied}"
            );
        }
        let missing = words(libc::ENOENT);
        assert!(missing.contains("CONFIG_DEBUG_INFO_BTF") && !missing.contains("root"), "{missing}");
    }
}
