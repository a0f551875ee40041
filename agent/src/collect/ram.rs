//! The whole RAM: each part of a range a file of its own, which together (`cat` in the order of their names) are one image. So
//! whatever ends a capture costs one part, and the zeros that fill it up are still an image.
//!
//! What is not in it, and what stands for pages that could not be read, is told in `ram.json`.

use std::cell::RefCell;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::symbols;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::capture::job::{BY_POLICY, Ram};
use crate::thaw::boot_time;

mod avml;
mod layout;
mod lime;
mod machine;
mod pages;
mod source;

use avml::Block;
use layout::{Hole, Layout, Span, layout};
pub(super) use machine::Machine;
use pages::{Pages, Unread};
pub(super) use source::Source;

/// The memory of one part of an image in LiME's format.
const PART: u64 = 1 << 30;
/// The last of the capture's time is for saying what was not taken.
const LAST: Duration = Duration::from_secs(5);
const LATE: &str = "the capture's time was over";
/// Room for headers and reports, beside the memory.
const ROOM: u64 = 256 << 20;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let subject = "whole memory (kcore)";
    if !context.job.facts.initial_pid_namespace {
        let why = "it belongs to the whole machine, and the agent lives in a PID namespace of its own";
        return attempts.miss(subject, Miss::refused(why));
    }
    let limits = &context.job.limits;
    if limits.ram == Ram::None {
        return attempts.miss(subject, Miss::refused("the configuration leaves it out (capture.ram)"));
    }
    // All processes' memory and environments are in it.
    if !limits.omit.is_empty() {
        return attempts.miss(subject, Miss::refused(BY_POLICY));
    }
    let proc = &context.job.places.proc;
    let machine = match Machine::look(proc) {
        Ok(machine) => machine,
        Err(miss) => return attempts.miss(subject, miss),
    };
    attempts.grant(limits.ram_bytes.saturating_add(ROOM));
    let mut source = Source::kcore(proc);
    if let Err(miss) = source {
        attempts.miss(subject, miss)?;
        source = Source::probe(&machine, proc);
    }
    symbols::take(context.job, &machine, source.as_ref().ok(), attempts)?;
    match source {
        Ok(source) => image(&source, &machine, limits.ram, limits.ram_bytes, attempts),
        Err(miss) => attempts.miss("whole memory (probe)", miss),
    }
}

/// How an image would be taken on this host, in words, or why not; nothing of the memory is read.
pub(super) fn way(proc: &Path) -> Result<String, String> {
    let Err(kcore) = Source::kcore(proc) else { return Ok("through /proc/kcore".to_owned()) };
    let may = Machine::look(proc).and_then(|machine| source::probe_may(&machine, proc));
    match may {
        Ok(_) => Ok(format!("by the probe's own reads ({})", kcore.detail)),
        Err(probe) => Err(format!("through /proc/kcore: {}; by the probe: {}", kcore.detail, probe.detail)),
    }
}

/// What is said of the image.
#[derive(Debug, Serialize)]
struct Report {
    /// `kcore`, or `probe`.
    way: &'static str,
    format: Ram,
    began: Clocks,
    ended: Clocks,
    system_ram: Vec<Span>,
    /// In order of addresses; together they are the image.
    parts: Vec<Part>,
    /// Memory that is not in the image.
    left_out: Vec<Hole>,
    /// Zeros in the image that stand for what could not be read.
    unread: Vec<Hole>,
    unread_bytes: u64,
    unread_not_listed: u64,
    /// Memory that holds nothing but zeros, which AVML leaves out.
    zeros: Vec<Span>,
}

/// A file of the image.
#[derive(Debug, Serialize)]
struct Part {
    #[serde(flatten)]
    span: Span,
    artifact: Name,
}

#[derive(Debug, Serialize)]
struct Clocks {
    time: Timestamp,
    /// `CLOCK_BOOTTIME`, in microseconds.
    boot_us: u64,
}

impl Clocks {
    fn now() -> Self {
        Self { time: Timestamp::now(), boot_us: u64::try_from(boot_time().as_micros()).unwrap_or(u64::MAX) }
    }
}

/// The image in the making.
struct Image<'s> {
    pages: Pages<'s>,
    unread: RefCell<Unread>,
    parts: Vec<Part>,
    zeros: Vec<Span>,
    /// What was to be a part.
    failed: Vec<Hole>,
    /// Of AVML, what was read, and the block that was begun; what could not be read before it.
    bytes: Vec<u8>,
    block: Block,
    before_block: u64,
}

fn image(
    source: &Source,
    machine: &Machine,
    format: Ram,
    budget: u64,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let began = Clocks::now();
    let most = if format == Ram::Avml { avml::PIECE } else { PART };
    let Layout { parts, mut holes } = layout(&machine.ram, source.readable().as_deref(), most, budget);
    attempts.expect(parts.len().saturating_add(1));
    let read = |at: u64, buffer: &mut [u8]| source.read(at, buffer);
    let mut image = Image {
        pages: Pages::new(&read),
        unread: RefCell::default(),
        parts: Vec::new(),
        zeros: Vec::new(),
        failed: Vec::new(),
        bytes: Vec::new(),
        block: Block::default(),
        before_block: 0,
    };
    let deadline = attempts.room().deadline;
    attempts.end_by(deadline.checked_sub(LAST).unwrap_or(deadline));
    let mut parts = parts.into_iter();
    for part in parts.by_ref() {
        if attempts.late() {
            holes.push(Hole::new(part, LATE));
            break;
        }
        if format == Ram::Avml {
            image.avml(part, attempts)?;
        } else {
            image.lime(part, attempts)?;
        }
    }
    image.end_block(attempts)?;
    attempts.end_by(deadline);
    holes.extend(parts.map(|part| Hole::new(part, LATE)));
    holes.append(&mut image.failed);
    let Unread { holes: unread, bytes: unread_bytes, unlisted } = image.unread.into_inner();
    let report = Report {
        way: source.way(),
        format,
        began,
        ended: Clocks::now(),
        system_ram: machine.ram.iter().cloned().map(Span::from).collect(),
        parts: image.parts,
        left_out: holes,
        unread,
        unread_bytes,
        unread_not_listed: unlisted,
        zeros: image.zeros,
    };
    let lack = lack(&report);
    attempts.take(format!("whole memory ({})", report.way), &Name::data(&["memory", "ram.json"]), |_| {
        Ok(Found::json(&report)?.lacking(lack))
    })?;
    Ok(())
}

/// What is missing of the whole; an end of a range that is less than a page is none of the kernel's either.
fn lack(report: &Report) -> Option<Miss> {
    let missing: Vec<_> = report.left_out.iter().filter(|hole| hole.why != "less than a page").collect();
    let mut words = Vec::new();
    if let Some(hole) = missing.first() {
        let bytes = missing.iter().map(|hole| hole.span.end.saturating_sub(hole.span.start)).sum::<u64>();
        words.push(format!("{bytes} bytes are left out, such as {:#x}: {}", hole.span.start, hole.why));
    }
    if let Some(hole) = report.unread.first() {
        let bytes = report.unread_bytes;
        words.push(format!("{bytes} bytes are zeros instead, such as {:#x}: {}", hole.span.start, hole.why));
    }
    (!words.is_empty()).then(|| Miss::partial(words.join("; ")))
}

impl Image<'_> {
    fn lime(&mut self, range: Range<u64>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        let before = self.unread.borrow().bytes;
        let Self { pages, unread, .. } = &*self;
        let name = name(&range, "lime");
        let find = || {
            let (size, part) = lime::Part::new(range.clone(), *pages, unread);
            Ok(Found::stream(part, size))
        };
        let judge = || unread.borrow().since(before);
        let taken = attempts.take_and_judge(subject(&range), &name, |_| find(), judge)?;
        self.ended(range, name, taken);
        Ok(())
    }

    fn avml(&mut self, range: Range<u64>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        if self.block.range().end != range.start {
            self.end_block(attempts)?;
        }
        let Self { pages, unread, bytes, block, .. } = self;
        let before = unread.borrow().bytes;
        bytes.resize(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0), 0);
        pages.fill(range.start, bytes, &mut unread.borrow_mut());
        if block.is_empty() {
            if avml::is_zero(bytes) && unread.borrow().bytes == before {
                self.zeros.push(range.into());
                return Ok(());
            }
            self.before_block = before;
        }
        if let Err(error) = block.add(&range, bytes) {
            self.failed.push(Hole::new(range, format!("compress: {error}")));
            block.clear();
        }
        if self.block.is_enough() { self.end_block(attempts) } else { Ok(()) }
    }

    /// Puts the block that was begun into the bag.
    fn end_block(&mut self, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        let range = self.block.range().clone();
        let (name, before) = (name(&range, "avml"), self.before_block);
        let (head, frames, length) = self.block.parts();
        let size = [head.len(), frames.len(), length.len()].iter().sum::<usize>();
        let find = || {
            let source = head.as_slice().chain(frames).chain(length.as_slice());
            Ok(Found::stream(source, u64::try_from(size).unwrap_or(u64::MAX)))
        };
        let judge = || self.unread.borrow().since(before);
        let taken = attempts.take_and_judge(subject(&range), &name, |_| find(), judge)?;
        self.block.clear();
        self.ended(range, name, taken);
        Ok(())
    }

    fn ended(&mut self, range: Range<u64>, artifact: Name, taken: bool) {
        if taken {
            self.parts.push(Part { span: range.into(), artifact });
        } else {
            self.failed.push(Hole::new(range, "its attempt failed"));
        }
    }
}

impl Unread {
    /// What could not be read after the first `before` bytes of it.
    fn since(&self, before: u64) -> Option<Miss> {
        let bytes = self.bytes.saturating_sub(before);
        let why = self.holes.last().map_or("", |hole| hole.why.as_str());
        (bytes > 0).then(|| Miss::new(Outcome::Partial, format!("{bytes} bytes are zeros instead: {why}")))
    }
}

fn subject(range: &Range<u64>) -> String {
    format!("memory {:#x}-{:#x}", range.start, range.end)
}

/// So that the order of names is that of addresses.
fn name(range: &Range<u64>, extension: &str) -> Name {
    Name::data(&["memory", "ram", &format!("{:016x}.{extension}", range.start)])
}

#[cfg(test)]
#[path = "ram_test.rs"]
mod tests;
