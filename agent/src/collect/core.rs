//! An ELF core's beginning: header, program headers, notes. Pure; layouts as in the kernel's fs/binfmt_elf.c and
//! include/linux/elfcore.h. `NT_X86_XSTATE` is left out: gdb 13 reckons its size by Intel's layout, warns of any other (AMD's,
//! or of a newer kernel) and shows wrong registers. Back-traces need none of it; the lower halves of the vector registers are
//! in `NT_FPREGSET`, the upper ones are not in the core.

use super::segments::Segment;
use crate::proc::{Mapping, Stat};

/// What differs between processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    #[cfg_attr(
        all(target_arch = "aarch64", not(test)),
        expect(dead_code, reason = "only tests write cores of other machines")
    )]
    X86_64,
    #[cfg_attr(
        all(not(target_arch = "aarch64"), not(test)),
        expect(dead_code, reason = "only tests write cores of other machines")
    )]
    Aarch64,
}

impl Machine {
    /// The one this runs on.
    #[cfg(target_arch = "x86_64")]
    pub(super) const OURS: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const OURS: Self = Self::Aarch64;

    /// `e_machine` (include/uapi/linux/elf-em.h).
    fn number(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// Bytes of the general registers: `user_regs_struct`, `user_pt_regs`.
    pub(super) fn registers(self) -> usize {
        match self {
            Self::X86_64 => 27 * 8,
            Self::Aarch64 => 34 * 8,
        }
    }

    /// Where the stack pointer is among them.
    fn stack_pointer(self) -> usize {
        match self {
            Self::X86_64 => 19 * 8,
            Self::Aarch64 => 31 * 8,
        }
    }
}

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

const EHDR: usize = 64;
const PHDR: usize = 56;
const SHDR: usize = 64;
/// As many program headers as do not fit into 16 bits: their number is in the first section header (elf(5)).
const PN_XNUM: u16 = 0xffff;

/// One thread, as it goes into the core.
#[derive(Clone, Debug, Default)]
pub(super) struct Thread {
    pub(super) tid: u32,
    /// General registers as the kernel gives them; empty where they could not be read.
    pub(super) registers: Vec<u8>,
    /// Floating point registers, or empty.
    pub(super) float: Vec<u8>,
    /// `siginfo_t`, or empty.
    pub(super) signal: Vec<u8>,
}

impl Thread {
    /// Where its stack ends, if its registers are known.
    pub(super) fn stack_pointer(&self, machine: Machine) -> Option<u64> {
        let bytes = self.registers.get(machine.stack_pointer()..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

/// What the notes say.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) machine: Machine,
    pub(super) stat: &'a Stat,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Arguments, separated by NULs.
    pub(super) command_line: &'a [u8],
    pub(super) auxv: &'a [u8],
    pub(super) mappings: &'a [Mapping],
    /// The current one first.
    pub(super) threads: &'a [Thread],
    pub(super) page: u64,
}

/// The core's bytes up to the first segment's. The segments' bytes follow in the order of `segments`, without gaps.
pub(super) fn head(subject: &Subject<'_>, segments: &[Segment]) -> Vec<u8> {
    let notes = notes(subject);
    let count = segments.len() + 1;
    let programs = EHDR + PHDR * count;
    let fits = u16::try_from(count).is_ok_and(|count| count < PN_XNUM);
    let extended = if fits { 0 } else { SHDR };
    let headers = programs + extended;
    let page = usize::try_from(subject.page).unwrap_or(4096);
    let first = (headers + notes.len()).next_multiple_of(page);
    let mut head = Writer(Vec::with_capacity(first));
    head.header(subject.machine, count, extended > 0);
    head.program(4, 0, u64_of(headers), 0, u64_of(notes.len()), 4); // PT_NOTE
    let mut offset = u64_of(first);
    let mut loads: Vec<(&Segment, u64)> = Vec::with_capacity(segments.len());
    for segment in segments {
        loads.push((segment, offset));
        offset += segment.len();
    }
    // The headers stand in the order of addresses, the bytes in the order of worth.
    loads.sort_by_key(|(segment, _)| segment.start);
    for (segment, offset) in loads {
        head.program(1, segment.flags, offset, segment.start, segment.len(), subject.page); // PT_LOAD
    }
    if extended > 0 {
        head.section(count);
    }
    head.0.extend(notes);
    head.0.resize(first, 0);
    head.0
}

fn notes(subject: &Subject<'_>) -> Vec<u8> {
    let mut notes = Writer(Vec::new());
    for (at, thread) in subject.threads.iter().enumerate() {
        notes.note(NT_PRSTATUS, &status(subject, thread));
        if at == 0 {
            notes.note(NT_PRPSINFO, &information(subject));
            if !thread.signal.is_empty() {
                notes.note(NT_SIGINFO, &thread.signal);
            }
            notes.note(NT_AUXV, subject.auxv);
            notes.note(NT_FILE, &files(subject));
        }
        if !thread.float.is_empty() {
            notes.note(NT_FPREGSET, &thread.float);
        }
    }
    notes.0
}

/// `struct elf_prstatus`.
fn status(subject: &Subject<'_>, thread: &Thread) -> Vec<u8> {
    let stat = subject.stat;
    let mut out = Writer(vec![0; 32]); // signal: none; pending and held: not known
    out.u32(thread.tid);
    out.u32(stat.ppid);
    out.i32(stat.pgrp);
    out.i32(stat.session);
    for ticks in [stat.utime, stat.stime, 0, 0] {
        out.u64(ticks / 100);
        out.u64(ticks % 100 * 10_000);
    }
    let mut registers = thread.registers.clone();
    registers.resize(subject.machine.registers(), 0);
    out.0.extend(registers);
    out.u32(u32::from(!thread.float.is_empty()));
    out.u32(0);
    out.0
}

/// `struct elf_prpsinfo`.
fn information(subject: &Subject<'_>) -> Vec<u8> {
    let stat = subject.stat;
    let number = b"RSDTZW".iter().position(|&state| state == stat.state).unwrap_or(6);
    let mut out = Writer(Vec::with_capacity(136));
    out.0.extend([u8::try_from(number).unwrap_or(6), stat.state, u8::from(stat.state == b'Z'), 0]);
    out.u32(0);
    out.u64(u64::from(stat.flags));
    for value in [subject.uid, subject.gid, stat.pid, stat.ppid] {
        out.u32(value);
    }
    out.i32(stat.pgrp);
    out.i32(stat.session);
    out.text(stat.comm.as_slice(), 16);
    let arguments: Vec<u8> =
        subject.command_line.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect();
    out.text(arguments.trim_ascii_end(), 80);
    out.0
}

/// The mapped files: counts, ranges, then names.
fn files(subject: &Subject<'_>) -> Vec<u8> {
    let mapped: Vec<&Mapping> = subject.mappings.iter().filter(|mapping| mapping.inode != 0).collect();
    let mut out = Writer(Vec::new());
    out.u64(u64_of(mapped.len()));
    out.u64(subject.page);
    for mapping in &mapped {
        out.u64(mapping.start);
        out.u64(mapping.end);
        out.u64(mapping.offset / subject.page);
    }
    for mapping in &mapped {
        out.0.extend(mapping.path.as_slice().iter().filter(|&&byte| byte != 0));
        out.0.push(0);
    }
    out.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_ne_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_ne_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_ne_bytes());
    }

    /// At most `room - 1` bytes, and NULs up to `room`.
    fn text(&mut self, text: &[u8], room: usize) {
        let cut = text.get(..room - 1).unwrap_or(text);
        self.0.extend(cut);
        self.0.resize(self.0.len() + room - cut.len(), 0);
    }

    /// `Elf64_Ehdr` of a core with `count` program headers.
    fn header(&mut self, machine: Machine, count: usize, extended: bool) {
        let data = if cfg!(target_endian = "little") { 1 } else { 2 };
        self.0.extend([0x7f, b'E', b'L', b'F', 2, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.u16(4); // ET_CORE
        self.u16(machine.number());
        self.u32(1);
        self.u64(0);
        self.u64(u64_of(EHDR));
        self.u64(if extended { u64_of(EHDR + PHDR * count) } else { 0 });
        self.u32(0);
        for size in [EHDR, PHDR] {
            self.u16(u16::try_from(size).unwrap_or_default());
        }
        self.u16(if extended { PN_XNUM } else { u16::try_from(count).unwrap_or(PN_XNUM) });
        self.u16(if extended { u16::try_from(SHDR).unwrap_or_default() } else { 0 });
        self.u16(u16::from(extended));
        self.u16(0);
    }

    /// `Elf64_Shdr`, the first one: it names no section but the number of program headers.
    fn section(&mut self, count: usize) {
        self.u32(0);
        self.u32(0);
        for _flags_address_offset in 0..3 {
            self.u64(0);
        }
        self.u64(1); // as many sections
        self.u32(0);
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
        for _alignment_entry in 0..2 {
            self.u64(0);
        }
    }

    /// `Elf64_Phdr`.
    fn program(&mut self, kind: u32, flags: u32, offset: u64, address: u64, size: u64, align: u64) {
        self.u32(kind);
        self.u32(flags);
        self.u64(offset);
        self.u64(address);
        self.u64(0);
        self.u64(size);
        self.u64(if kind == 1 { size } else { 0 });
        self.u64(align);
    }

    fn note(&mut self, kind: u32, content: &[u8]) {
        self.u32(5);
        self.u32(u32::try_from(content.len()).unwrap_or_default());
        self.u32(kind);
        self.0.extend(b"CORE\0\0\0\0");
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

fn u64_of(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "core_test.rs"]
mod tests;
