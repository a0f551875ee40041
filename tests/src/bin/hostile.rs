//! Processes that are hard to read. `hostile KIND [ARGUMENT]` does one of them, says as one JSON line what it has, and ends
//! with its stdin, or after two minutes.

use std::fs::File;
use std::io::{BufRead, Read, stdin};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, ptr, thread};

use anyhow::{Context, Result, bail, ensure};
use e2e::fuse;
use nix::sys::ptrace;
use nix::unistd::Pid;
use serde_json::json;

const LIFETIME: Duration = Duration::from_secs(120);
/// How long the restless are so.
const RESTLESS: Duration = Duration::from_secs(20);
const PAGE: usize = 4096;
const PAGES: usize = 16;
/// A page of this is in memory.
const PATTERN: &[u8; 32] = b"afterimage-drill-pattern-0123456";

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let kind = arguments.next().context("usage: hostile KIND [ARGUMENT]")?;
    let argument = arguments.next();
    thread::spawn(|| {
        thread::sleep(LIFETIME);
        exit(0);
    });
    match kind.as_str() {
        "userfault" => userfault(),
        "fuse" => server(Path::new(&argument.context("no folder")?)),
        "mapped" => mapped(Path::new(&argument.context("no file")?)),
        "mappings" => mappings(argument.context("no number")?.parse()?),
        "threads" => threads(argument.context("no number")?.parse()?),
        "headless" => headless(),
        "executes" => executes(argument.map_or(Ok(0), |text| text.parse())?),
        "forks" => forks(),
        "traces" => traces(argument.context("no pid")?.parse()?),
        "pair" => pair(),
        "races" => races(Path::new(&argument.context("no folder")?)),
        "quiet" => {
            println!("{}", json!({"pid": std::process::id()}));
            last()
        }
        other => bail!("there is no kind {other}"),
    }
}

/// Waits for the end of stdin.
fn last() -> Result<()> {
    stdin().lines().for_each(drop);
    Ok(())
}

/// Anonymous memory.
fn memory(pages: usize) -> Result<*mut u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, protection, flags | libc::MAP_NORESERVE, -1, 0) };
    ensure!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    Ok(start.cast())
}

fn fill(start: *mut u8) {
    // SAFETY: the caller has just mapped this page.
    unsafe { ptr::copy_nonoverlapping(PATTERN.repeat(PAGE / PATTERN.len()).as_ptr(), start, PAGE) };
}

/// Whoever touches its memory waits for a handler that never answers.
fn userfault() -> Result<()> {
    const API: libc::c_ulong = 0xc018_aa3f;
    const REGISTER: libc::c_ulong = 0xc020_aa00;
    let start = memory(PAGES)?;
    fill(start);
    // SAFETY: the structures have the sizes that the numbers of the calls name; the memory was mapped above.
    let file = unsafe {
        let file = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
        let file = i32::try_from(file)?;
        ensure!(file >= 0, "userfaultfd: {}", std::io::Error::last_os_error());
        let mut api = [0xaa_u64, 0, 0];
        ensure!(libc::ioctl(file, API, api.as_mut_ptr()) == 0, "api: {}", std::io::Error::last_os_error());
        let mut register = [start.expose_provenance() as u64, (PAGES * PAGE) as u64, 1, 0];
        let done = libc::ioctl(file, REGISTER, register.as_mut_ptr());
        ensure!(done == 0, "register: {}", std::io::Error::last_os_error());
        std::os::fd::FromRawFd::from_raw_fd(file)
    };
    println!("{}", json!({"pid": std::process::id(), "address": start.expose_provenance()}));
    last()?;
    let mut file: File = file;
    let asked = file.read(&mut [0; 32]).is_ok();
    println!("{}", json!({"asked": asked}));
    Ok(())
}

fn server(folder: &Path) -> Result<()> {
    let device = fuse::attach(folder)?;
    static SILENT: AtomicBool = AtomicBool::new(false);
    thread::spawn(move || fuse::serve(device, &SILENT));
    println!("{}", json!({"pid": std::process::id()}));
    let mut lines = stdin().lock().lines();
    if lines.next().is_some() {
        SILENT.store(true, Ordering::SeqCst);
        println!("{}", json!({"silent": true}));
    }
    lines.for_each(drop);
    Ok(())
}

/// Maps a file, and has read its first page only.
fn mapped(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    // SAFETY: a new mapping; the first page of the file is there.
    let (start, first) = unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            PAGES * PAGE,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        );
        ensure!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        libc::madvise(start, PAGES * PAGE, libc::MADV_RANDOM);
        (start, start.cast::<u8>().read_volatile())
    };
    fill(memory(1)?);
    println!("{}", json!({"pid": std::process::id(), "address": start.expose_provenance(), "first": first}));
    last()
}

fn mappings(count: usize) -> Result<()> {
    let start = memory(count)?;
    for page in (0..count).step_by(2) {
        // SAFETY: within what was mapped above; nobody else uses it.
        unsafe {
            let at = start.add(page * PAGE);
            if page % 64 == 0 {
                fill(at);
            }
            ensure!(libc::mprotect(at.cast(), PAGE, libc::PROT_READ) == 0, "mapping {page} of {count}");
        }
    }
    let maps = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    println!("{}", json!({"pid": std::process::id(), "mappings": maps}));
    last()
}

fn threads(count: usize) -> Result<()> {
    let running = Barrier::new(count + 1);
    thread::scope(|scope| {
        for _ in 0..count {
            thread::Builder::new().stack_size(16 << 10).spawn_scoped(scope, || {
                running.wait();
                loop {
                    thread::park();
                }
            })?;
        }
        running.wait();
        println!("{}", json!({"pid": std::process::id(), "threads": count + 1}));
        last()?;
        exit(0)
    })
}

/// The first thread ends, and the others go on.
fn headless() -> Result<()> {
    let start = memory(1)?;
    fill(start);
    let address = start.expose_provenance();
    thread::spawn(move || {
        println!("{}", json!({"pid": std::process::id(), "address": address}));
        drop(last());
        exit(0);
    });
    // SAFETY: this ends the calling thread and touches nothing.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    bail!("the first thread did not end")
}

/// A thread that is not the first executes the program again, some hundred times a second.
fn executes(since: u64) -> Result<()> {
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let since = if since == 0 { now } else { since };
    if since == now {
        println!("{}", json!({"pid": std::process::id()}));
    }
    if now - since > u64::try_from(RESTLESS.as_millis())? {
        return last();
    }
    for _ in 0..4 {
        thread::spawn(|| {
            loop {
                thread::park();
            }
        });
    }
    let again = thread::spawn(move || {
        thread::sleep(Duration::from_millis(3));
        Command::new("/proc/self/exe").args(["executes", &since.to_string()]).exec()
    });
    bail!("it did not execute: {:?}", again.join())
}

fn forks() -> Result<()> {
    println!("{}", json!({"pid": std::process::id()}));
    let begun = Instant::now();
    while begun.elapsed() < RESTLESS {
        Command::new("/proc/self/exe").args(["quiet"]).stdin(std::process::Stdio::null()).output()?;
    }
    last()
}

/// Two processes: it starts a second one.
fn pair() -> Result<()> {
    let mut second = Command::new("/proc/self/exe")
        .arg("quiet")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    println!("{}", json!({"pid": std::process::id(), "second": second.id()}));
    last()?;
    second.kill()?;
    second.wait()?;
    Ok(())
}

/// Traces another process, which runs on.
fn traces(pid: i32) -> Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        let thread = Pid::from_raw(name.to_str().context("an odd name")?.parse()?);
        ptrace::seize(thread, ptrace::Options::empty())?;
    }
    println!("{}", json!({"pid": std::process::id()}));
    last()
}

/// Names in a folder (of `zoo::race_track`) that do not stay what they are, until the end of stdin: by renaming one over the
/// other, files and folders, and by unlinking and linking again.
fn races(folder: &Path) -> Result<()> {
    use std::sync::atomic::AtomicU64;
    static SWAPS: AtomicU64 = AtomicU64::new(0);
    let folder: &'static Path = Box::leak(folder.to_owned().into_boxed_path());
    let canary = std::fs::read_link(folder.join("link"))?;
    let exchange = move |one: &'static str, other: &'static str| {
        let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        nix::fcntl::renameat2(
            nix::fcntl::AT_FDCWD,
            &folder.join(one),
            nix::fcntl::AT_FDCWD,
            &folder.join(other),
            flags,
        )
    };
    let again = move || -> Result<()> {
        let name = folder.join("again");
        std::os::unix::fs::symlink(&canary, &name)?;
        std::fs::remove_file(&name)?;
        std::fs::hard_link(folder.join("spare"), &name)?;
        Ok(std::fs::remove_file(&name)?)
    };
    let ways: [Box<dyn Fn() -> Result<()> + Send>; 3] = [
        Box::new(move || Ok(exchange("file", "link")?)),
        Box::new(move || Ok(exchange("in", "over")?)),
        Box::new(again),
    ];
    for way in ways {
        thread::spawn(move || {
            while way().is_ok() {
                // Some thousand a second, so that there is time left to run into them.
                if SWAPS.fetch_add(1, Ordering::Relaxed).is_multiple_of(32) {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
    }
    println!("{}", json!({"pid": std::process::id()}));
    last()?;
    println!("{}", json!({"swaps": SWAPS.load(Ordering::Relaxed)}));
    Ok(())
}
