//! Who reads the memory for us: /proc/kcore, or else a program of ours in the kernel.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::super::attempts::Miss;
use super::machine::{Machine, danger};
use crate::kernel::physical::Memory;
use crate::proc::kcore::{self, Kcore, Load};

/// The head of /proc/kcore is read so far; when it goes on, so far as it may.
const HEAD: usize = 64 << 10;
/// Notes of /proc/kcore.
const NOTES_MAX: u64 = 1 << 20;
/// Where the direct map of x86-64 begins in a kernel that never moves it (arch/x86/include/asm/page_64_types.h).
const FIXED_DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Bytes of the kernel's code that must be the same by both addresses.
const COMPARED: usize = 4096;

/// A way to the memory.
#[derive(Debug)]
pub(in crate::collect) enum Source {
    /// The file, and what it says of itself.
    Kcore(File, Kcore),
    /// The program, and where the direct map begins.
    Probe(Memory, u64),
}

impl Source {
    /// Through /proc/kcore.
    #[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
    pub(super) fn kcore(proc: &Path) -> Result<Self, Miss> {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options
            .open(proc.join("kcore"))
            .map_err(|error| Miss::at("open /proc/kcore", &error).of_the_living())?;
        let kcore = head(&file)?;
        if kcore.loads.iter().all(|load| load.physical.is_none_or(|address| address == 0)) {
            return Err(Miss::refused("/proc/kcore names no physical address (a kernel before 4.11)"));
        }
        Ok(Self::Kcore(file, kcore))
    }

    /// Through the kernel's own map of all memory, read by a program of ours.
    pub(super) fn probe(machine: &Machine, proc: &Path) -> Result<Self, Miss> {
        let (text, code) = probe_may(machine, proc)?;
        let memory = Memory::load().map_err(|error| Miss::refused(error.to_string()))?;
        let base = match machine.direct_map {
            Some(place) => {
                let mut base = [0; 8];
                memory.read(place, &mut base).map_err(|error| Miss::at("read page_offset_base", &error))?;
                u64::from_ne_bytes(base)
            }
            None => FIXED_DIRECT_MAP,
        };
        // Nothing else is read before this is right: by a wrong address it could be a device that answers.
        let (mut here, mut there) = ([0; COMPARED], [0; COMPARED]);
        memory.read(text, &mut here).map_err(|error| Miss::at("read the kernel's code", &error))?;
        let address = base.saturating_add(code);
        memory.read(address, &mut there).map_err(|error| Miss::at("read the direct map", &error))?;
        if here != there || here.iter().all(|&byte| byte == 0) {
            let why =
                format!("the kernel's code is not at {address:#x}, where the direct map should have it");
            return Err(Miss::refused(why));
        }
        Ok(Self::Probe(memory, base))
    }

    /// Its name.
    pub(super) fn way(&self) -> &'static str {
        match self {
            Self::Kcore(..) => "kcore",
            Self::Probe(..) => "probe",
        }
    }

    /// The physical addresses it has, in order; `None`: all there are.
    pub(super) fn readable(&self) -> Option<Vec<Range<u64>>> {
        let Self::Kcore(_, kcore) = self else { return None };
        let mut ranges: Vec<_> = kcore.loads.iter().filter_map(range).collect();
        ranges.sort_by_key(|range| range.start);
        Some(ranges)
    }

    /// Fills `buffer` from a physical address on.
    pub(in crate::collect) fn read(&self, physical: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Probe(memory, base) => memory.read(base.saturating_add(physical), buffer),
            Self::Kcore(file, kcore) => {
                read_load(file, &kcore.loads, physical, buffer, |load| load.physical.unwrap_or(u64::MAX))
            }
        }
    }

    /// Fills `buffer` from one of the kernel's own addresses on.
    pub(in crate::collect) fn read_kernel(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Probe(memory, _) => memory.read(address, buffer),
            Self::Kcore(file, kcore) => read_load(file, &kcore.loads, address, buffer, |load| load.address),
        }
    }

    /// The notes of /proc/kcore.
    pub(in crate::collect) fn notes(&self) -> Option<io::Result<Vec<u8>>> {
        let Self::Kcore(file, Kcore { notes: Some((offset, size)), .. }) = self else { return None };
        let mut notes = vec![0; usize::try_from((*size).min(NOTES_MAX)).unwrap_or(0)];
        Some(file.read_exact_at(&mut notes, *offset).map(|()| notes))
    }
}

/// Whether the probe may try: then the address of the kernel's code, as the kernel and as the machine knows it.
#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
pub(super) fn probe_may(machine: &Machine, proc: &Path) -> Result<(u64, u64), Miss> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Miss::refused("how this kind of machine maps its memory is not known to the probe"));
    }
    let meminfo = std::fs::read(proc.join("meminfo")).map_err(|error| Miss::at("read meminfo", &error))?;
    if let Some(why) = danger(&meminfo) {
        return Err(Miss::refused(why));
    }
    if is_confidential() {
        return Err(Miss::refused(
            "the kernel is locked down to confidentiality, and lets no program read its memory",
        ));
    }
    machine.text.zip(machine.code).ok_or_else(|| {
        Miss::refused(
            "the addresses of the kernel's code are hidden (/proc/kallsyms, /proc/iomem); CAP_SYSLOG and CAP_SYS_ADMIN \
             are needed, and kernel.kptr_restrict below 2",
        )
    })
}

/// What is read of /proc/kcore before anything else.
fn head(file: &File) -> Result<Kcore, Miss> {
    for most in [HEAD, usize::try_from(kcore::HEAD_MAX).unwrap_or(HEAD)] {
        let mut head = vec![0; most];
        let mut length = 0;
        while let Some(room) = head.get_mut(length..).filter(|room| !room.is_empty()) {
            let offset = u64::try_from(length).unwrap_or(u64::MAX);
            match file.read_at(room, offset) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Behind the head there is nothing.
                Err(_) if length > 0 => break,
                Err(error) => return Err(Miss::at("read /proc/kcore", &error)),
            }
        }
        match Kcore::parse(head.get(..length).unwrap_or_default()) {
            Err(kcore::Error::Short) if length == most => {}
            Ok(kcore) => return Ok(kcore),
            Err(error) => return Err(Miss::refused(format!("/proc/kcore: {error}"))),
        }
    }
    Err(Miss::refused(format!("/proc/kcore: {}", kcore::Error::Short)))
}

fn range(load: &Load) -> Option<Range<u64>> {
    load.physical.map(|start| start..start.saturating_add(load.size))
}

/// Reads where one of `loads` begins `by` an address; never across the end of one.
fn read_load(
    file: &File,
    loads: &[Load],
    address: u64,
    buffer: &mut [u8],
    by: impl Fn(&Load) -> u64,
) -> io::Result<()> {
    let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
    let found = loads.iter().find_map(|load| {
        let skip = address.checked_sub(by(load))?;
        (skip.checked_add(length)? <= load.size).then(|| load.offset.saturating_add(skip))
    });
    let offset = found.ok_or_else(|| io::Error::other("not in /proc/kcore"))?;
    file.read_exact_at(buffer, offset)
}

/// Whether the kernel is locked down so far that it hides its memory.
#[expect(clippy::disallowed_methods, reason = "it is in securityfs, the kernel's")]
fn is_confidential() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;
