//! What a reader of memory needs to know of this kernel: its types, where its symbols are, how it was configured, where it
//! was put. `iomem` and `kallsyms` belong to it as well; the collection `kernel` takes them.

use std::fs::File;
use std::time::Instant;

use serde::Serialize;

use super::attempts::{Attempts, Found, Miss, read_bounded};
use super::file::{regular, reopen, whole};
use super::ram::{Machine, Source};
use super::segments::hexadecimal;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::capture::job::Job;
use crate::proc::Vmcoreinfo;
use crate::proc::kcore::vmcoreinfo;

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const VMCOREINFO: &str = "/sys/kernel/vmcoreinfo";
/// Types, symbols and configurations have some megabytes.
const FILE_MAX: u64 = 256 << 20;
/// The note has a page or two.
const NOTE_MAX: u64 = 64 << 10;
/// The banner has some hundred bytes.
const BANNER: usize = 1024;
/// Where an x86-64 kernel is linked to; KASLR moves it from there.
const LINKED: u64 = 0xffff_ffff_8100_0000;

/// An address, written as a person reads it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Address(#[serde(serialize_with = "hexadecimal")] u64);

/// Where the kernel was put.
#[derive(Debug, Default, Serialize)]
struct Place {
    /// `_text`.
    text: Option<Address>,
    /// What KASLR added.
    kernel_offset: Option<Address>,
    /// `phys_base`.
    physical_base: Option<i64>,
    /// The physical address of the kernel's code.
    code: Option<Address>,
    /// `page_offset_base`: where all memory is mapped in one piece.
    direct_map: Option<Address>,
}

/// Takes them, each as an attempt of its own; `source` reads the kernel's memory, where it can be read.
#[expect(clippy::disallowed_methods, reason = "it is in sysfs, the kernel's")]
pub(super) fn take(
    job: &Job,
    machine: &Machine,
    source: Option<&Source>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    attempts.take("symbols: types", &name("btf"), |_| {
        let file = File::open(TYPES).map_err(|error| Miss::at("open", &error).of_the_living())?;
        let (bytes, all) = read_bounded(file, FILE_MAX).map_err(|error| Miss::at("read", &error))?;
        let lack = (!all).then(|| Miss::partial(format!("the first {FILE_MAX} bytes")));
        Ok(Found::bytes(bytes).lacking(lack))
    })?;
    configuration(job, attempts)?;
    let note = note(source);
    let place = place(machine, source, note.as_deref().unwrap_or_default());
    attempts.take("symbols: vmcoreinfo", &name("vmcoreinfo"), |_| note.map(Found::bytes))?;
    attempts.take("symbols: banner", &name("banner"), |_| banner(job, machine, source))?;
    attempts.take("symbols: place of the kernel", &name("kaslr.json"), |_| Found::json(&place))?;
    Ok(())
}

fn name(file: &str) -> Name {
    Name::data(&["kernel", "symbols", file])
}

/// As the distribution installed it, or as the kernel carries it.
#[expect(
    clippy::disallowed_methods,
    reason = "it is in /proc, the kernel's; the other one is looked for as any file"
)]
fn configuration(job: &Job, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let carried = job.places.proc.join("config.gz");
    if carried.exists() {
        return attempts
            .take("symbols: configuration", &name("config.gz"), |_| {
                let file = File::open(&carried).map_err(|error| Miss::at("open", &error))?;
                let (bytes, _) = read_bounded(file, FILE_MAX).map_err(|error| Miss::at("read", &error))?;
                Ok(Found::bytes(bytes))
            })
            .map(drop);
    }
    let release = &job.facts.kernel;
    attempts.take("symbols: configuration", &name("config"), |room| {
        if release.is_empty() || release.contains('/') {
            return Err(Miss::refused("the kernel's release is odd"));
        }
        let walker = Walker::new(&job.places.root, &job.places.proc, 1, Instant::now());
        let entry = walker.find(format!("/boot/config-{release}").as_bytes())?;
        let size = regular(&entry.fd, &walker.remote)?.size;
        whole(reopen(&entry.fd)?, size, room)
    })?;
    Ok(())
}

/// `VMCOREINFO`: a note of /proc/kcore, or the memory that /sys/kernel/vmcoreinfo points to.
#[expect(clippy::disallowed_methods, reason = "it is in sysfs, the kernel's")]
fn note(source: Option<&Source>) -> Result<Vec<u8>, Miss> {
    let source = source.ok_or_else(|| Miss::refused("the kernel's memory cannot be read"))?;
    if let Some(notes) = source.notes() {
        let notes = notes.map_err(|error| Miss::at("read the notes of /proc/kcore", &error))?;
        if let Some(text) = vmcoreinfo(&notes) {
            return Ok(text.to_vec());
        }
    }
    let text = std::fs::read_to_string(VMCOREINFO)
        .map_err(|error| Miss::at("read /sys/kernel/vmcoreinfo", &error).of_the_living())?;
    let (address, size) =
        pointer(&text).ok_or_else(|| Miss::refused("/sys/kernel/vmcoreinfo is not an address and a size"))?;
    let mut note = vec![0; usize::try_from(size.min(NOTE_MAX)).unwrap_or(0)];
    source.read(address, &mut note).map_err(|error| Miss::at("read the note", &error))?;
    let text = vmcoreinfo(&note).ok_or_else(|| Miss::refused("there is no note at its address"))?;
    Ok(text.to_vec())
}

/// `0x000000001ff12000 1024`: an address and a size, both hexadecimal.
fn pointer(text: &str) -> Option<(u64, u64)> {
    let (address, size) = text.trim_end().split_once(' ')?;
    let address = address.strip_prefix("0x").unwrap_or(address);
    Some((u64::from_str_radix(address, 16).ok()?, u64::from_str_radix(size, 16).ok()?))
}

/// As it is in memory, where a reader will look for it; else as /proc tells it.
#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn banner(job: &Job, machine: &Machine, source: Option<&Source>) -> Result<Found<'static>, Miss> {
    if let (Some(address), Some(source)) = (machine.banner, source) {
        let mut bytes = vec![0; BANNER];
        if source.read_kernel(address, &mut bytes).is_ok()
            && let Some(end) = bytes.iter().position(|&byte| byte == 0).filter(|&end| end > 0)
        {
            bytes.truncate(end);
            return Ok(Found::bytes(bytes).noting("from memory, at linux_banner"));
        }
    }
    let text =
        std::fs::read(job.places.proc.join("version")).map_err(|error| Miss::at("read version", &error))?;
    let lack = Miss::new(Outcome::Partial, "as /proc/version tells it: it was not found in memory");
    Ok(Found::bytes(text).lacking(Some(lack)))
}

fn place(machine: &Machine, source: Option<&Source>, note: &[u8]) -> Place {
    let told = Vmcoreinfo::parse(note);
    let linked = if cfg!(target_arch = "x86_64") { machine.text } else { None };
    let direct_map = machine.direct_map.zip(source).and_then(|(address, source)| {
        let mut value = [0; 8];
        source.read_kernel(address, &mut value).ok().map(|()| u64::from_ne_bytes(value))
    });
    Place {
        text: machine.text.map(Address),
        kernel_offset: told.kernel_offset.or_else(|| linked?.checked_sub(LINKED)).map(Address),
        physical_base: told.physical_base,
        code: machine.code.map(Address),
        direct_map: direct_map.map(Address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pointer_is_two_hexadecimal_numbers() {
        assert_eq!(pointer("0x000000001ff12000 1024\n"), Some((0x1ff1_2000, 0x1024)));
        assert_eq!(pointer("1ff12000 1024"), Some((0x1ff1_2000, 0x1024)));
        for text in ["", "1ff12000", "1ff12000 ", " 1024", "x 1", "0x 1", "0x1 0x1", "1 x", "1  2"] {
            assert_eq!(pointer(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_note_the_offset_follows_from_the_code() {
        let machine = Machine { text: Some(LINKED + 0x1d60_0000), ..Machine::default() };
        assert_eq!(place(&machine, None, b"").kernel_offset, Some(Address(0x1d60_0000)));
        let told = place(&machine, None, b"KERNELOFFSET=5\nNUMBER(phys_base)=-7\n");
        assert_eq!((told.kernel_offset, told.physical_base), (Some(Address(5)), Some(-7)));
        assert_eq!(place(&Machine::default(), None, b"").kernel_offset, None);
    }

    proptest! {
        #[test]
        fn any_text_is_borne(text: String) {
            pointer(&text);
        }
    }
}
