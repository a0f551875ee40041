//! What an intruder with root can do to the probe's objects: only to those whose numbers our own agent has reported.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use serde_json::Value;

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const PAGE: usize = 4096;

/// `attr` of BPF_MAP_UPDATE_ELEM.
#[repr(C)]
struct Update {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The probe's map called `name`, by the number in the agent's status.
pub fn map(status: &Value, name: &str) -> Result<OwnedFd> {
    let id = status["probe"]["maps"][name].as_u64().with_context(|| format!("no map {name} in {status}"))?;
    let attributes: [u32; 4] = [u32::try_from(id)?, 0, 0, 0];
    // SAFETY: the kernel reads 16 bytes, which outlive the call.
    let number = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_GET_FD_BY_ID, attributes.as_ptr(), size_of_val(&attributes))
    };
    ensure!(number >= 0, "open map {id}: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number)?) })
}

/// Writes a word into an array of words.
pub fn overwrite(map: &OwnedFd, key: u32, value: u64) -> Result<()> {
    let update = Update {
        map: u32::try_from(map.as_raw_fd())?,
        zero: 0,
        key: (&raw const key).expose_provenance() as u64,
        value: (&raw const value).expose_provenance() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, four bytes of key and eight of value; all outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const update, size_of::<Update>()) };
    ensure!(result == 0, "write to the map: {}", io::Error::last_os_error());
    Ok(())
}

/// The positions of a ring's reader and writer.
pub struct Ring {
    reader: *mut u64,
    writer: *const u64,
}

impl Ring {
    /// Maps the two pages of the map behind `ring`; they stay mapped until the process ends.
    pub fn open(ring: &OwnedFd) -> Result<Self> {
        let page = NonZeroUsize::new(PAGE).context("no page")?;
        let map = |protection, offset| {
            // SAFETY: a fresh mapping of a page of the ring at an address of the kernel's choice.
            unsafe { mmap(None, page, protection, MapFlags::MAP_SHARED, ring, offset) }
        };
        let reader = map(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, 0)?.cast().as_ptr();
        let writer = map(ProtFlags::PROT_READ, PAGE as i64)?.cast().as_ptr();
        Ok(Self { reader, writer })
    }

    /// Moves the reader's position to what `to` makes of the writer's.
    pub fn move_reader(&self, to: impl Fn(u64) -> u64) {
        // SAFETY: both pages begin with a word, and stay mapped.
        unsafe { self.reader.write_volatile(to(self.writer.read_volatile())) }
    }
}

/// Takes the program called `name` off, as whoever may trace the recorder can: puts something else in the place of its link there.
pub fn detach(pid: u32, status: &Value, name: &str) -> Result<()> {
    let programs = status["probe"]["programs"].as_array().context("no programs")?;
    let program = programs.iter().find(|program| program["name"] == name).context("no such program")?;
    let id = program["id"].as_u64().context("it has no number")?;
    let wanted = format!("prog_id:\t{id}");
    let is_link = |number: &String| {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        text.contains("link_type:") && text.lines().any(|line| line == wanted)
    };
    let numbers = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let numbers: Vec<String> = numbers.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let link = numbers.into_iter().find(is_link).with_context(|| format!("no link of program {id}"))?;
    let call = format!("call (int)dup2(0, {link})");
    let output =
        Command::new("gdb").args(["-nx", "-batch", "-p", &pid.to_string(), "-ex", &call]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains(&format!("$1 = {link}")),
        "gdb did not do it: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
