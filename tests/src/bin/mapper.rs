//! Code that is nowhere on disk, one way per process: `mapper all LIBRARY` starts the others, and an ordinary Python.
//! Each says as one JSON line what it has, and waits until its stdin is closed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write, stdin};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::{env, process, ptr};

use anyhow::{Context, Result, bail, ensure};
use e2e::mapper::{ANONYMOUS, DELETED, HOOK, HOOKED_AT, PIECES, PLUGIN, SCENES, SPARSE, SPARSE_SIZE};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use serde_json::{Value, json};

const PAGE: usize = 4096;
const PYTHON: &str = "import math, zlib\nprint('{}', flush=True)\ninput()\n";

fn main() -> Result<()> {
    let usage = "usage: mapper SCENE LIBRARY";
    let scene = env::args().nth(1).context(usage)?;
    let library = env::args().nth(2).context(usage)?;
    let on_the_stack = [0_u8; 4 * PAGE];
    // What is held until the end.
    let mut file = None;
    let mut children = Vec::new();
    let report = match scene.as_str() {
        "all" => all(&library, &mut children)?,
        "clean" => json!({}),
        "patched" => patched(&library)?,
        "memfd" => {
            let memory = File::from(memfd_create(PLUGIN, MFdFlags::MFD_CLOEXEC)?);
            (&memory).write_all(&fs::read(&library)?)?;
            json!({ "address": hexadecimal(executable(file.insert(memory))?) })
        }
        "deleted" => {
            fs::copy(&library, DELETED)?;
            let mapped = executable(&File::open(DELETED)?)?;
            fs::remove_file(DELETED)?;
            json!({ "address": hexadecimal(mapped) })
        }
        "sparse" => {
            let sparse = file.insert(File::create_new(SPARSE)?);
            sparse.set_len(SPARSE_SIZE)?;
            for (offset, bytes) in PIECES {
                sparse.write_all_at(bytes, offset)?;
            }
            fs::remove_file(SPARSE)?;
            json!({ "fd": sparse.as_raw_fd() })
        }
        "anonymous" => anonymous()?,
        "vdso" => vdso()?,
        "stack" => {
            let start = on_the_stack.as_ptr().addr().next_multiple_of(PAGE);
            protect(start, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC)?;
            json!({ "address": hexadecimal(start) })
        }
        other => bail!("no scene {other}: {usage}"),
    };
    println!("{report}");
    stdin().lines().for_each(drop);
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    process::exit(0);
}

/// Starts every scene; what each says, with its pid.
fn all(library: &str, children: &mut Vec<Child>) -> Result<Value> {
    let mut reports = serde_json::Map::new();
    for scene in SCENES {
        let mut command = match scene {
            "python" => Command::new("python3"),
            _ => Command::new(env::current_exe()?),
        };
        match scene {
            "python" => command.args(["-c", PYTHON]),
            _ => command.args([scene, library]),
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(scene)?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let mut report: Value =
            serde_json::from_str(&line).with_context(|| format!("{scene} said {line}"))?;
        report["pid"] = child.id().into();
        reports.insert(scene.to_owned(), report);
        children.push(child);
    }
    Ok(reports.into())
}

/// A library whose text is written over, as a hook is set.
fn patched(library: &str) -> Result<Value> {
    let start = executable(&File::open(library)?)?;
    let page = start + HOOKED_AT / PAGE * PAGE;
    protect(page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    let at = ptr::with_exposed_provenance_mut::<u8>(start + HOOKED_AT);
    // SAFETY: the page is mapped by us, private and writable, and nothing else refers to it; the hook ends within it.
    unsafe { ptr::copy_nonoverlapping(HOOK.as_ptr(), at, HOOK.len()) };
    protect(page, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)?;
    Ok(json!({ "address": hexadecimal(start) }))
}

/// A page that can be written and executed, with code.
fn anonymous() -> Result<Value> {
    let all = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC;
    let length = NonZeroUsize::new(PAGE).context("no length")?;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start = unsafe { mmap_anonymous(None, length, all, MapFlags::MAP_PRIVATE)? };
    // SAFETY: the page is ours, writable and longer than what is copied.
    unsafe { ptr::copy_nonoverlapping(ANONYMOUS.as_ptr(), start.cast::<u8>().as_ptr(), ANONYMOUS.len()) };
    Ok(json!({ "address": hexadecimal(start.as_ptr().expose_provenance()) }))
}

/// The kernel's own code in this process, written over as a debugger does it; the last bytes of it are no code.
fn vdso() -> Result<Value> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).context("no vdso")?;
    let end = line.split(['-', ' ']).nth(1).context("no end")?;
    let at = u64::from_str_radix(end, 16)? - 16;
    File::options().write(true).open("/proc/self/mem")?.write_all_at(&[0xcc], at)?;
    Ok(json!({ "address": format!("{at:#x}") }))
}

/// Maps the whole file to be executed, private, and reads a byte of it.
fn executable(file: &File) -> Result<usize> {
    let length = usize::try_from(file.metadata()?.len())?;
    ensure!(length > HOOKED_AT + PAGE, "the library has {length} bytes only");
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    let length = NonZeroUsize::new(length).context("an empty library")?;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start = unsafe { mmap(None, length, protection, MapFlags::MAP_PRIVATE, file, 0)? };
    // SAFETY: the mapping is readable and longer than one byte; the file is not made shorter.
    let first = unsafe { start.cast::<u8>().as_ptr().read_volatile() };
    ensure!(first == 0x7f, "no ELF file");
    Ok(start.as_ptr().expose_provenance())
}

fn protect(page: usize, protection: ProtFlags) -> Result<()> {
    let start = ptr::NonNull::new(ptr::with_exposed_provenance_mut(page)).context("no address")?;
    // SAFETY: the page is in a mapping of this process whose content is not used in between.
    unsafe { mprotect(start, PAGE, protection)? };
    Ok(())
}

fn hexadecimal(address: usize) -> String {
    format!("{address:#x}")
}
