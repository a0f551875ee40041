//! Does one of each thing that changes what can be run or seen, and says as one JSON line what it did: `deeds FOLDER`.

use std::fs;
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, Uid, setuid};
use serde_json::json;

/// A question for the address of `c2.example`.
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02c2\x07example\x00\x00\x01\x00\x01";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: deeds FOLDER | deeds become")?;
    match folder.as_str() {
        "become" => return Ok(setuid(Uid::from_raw(0))?),
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(20));
            return Ok(());
        }
        _ => {}
    }
    let folder = PathBuf::from(folder);
    drop(memfd_create("deeds-in-memory", MFdFlags::empty())?);
    let mut victim = sleeper()?;
    let pid = Pid::from_raw(i32::try_from(victim.id())?);
    ptrace::attach(pid)?;
    waitpid(pid, None)?;
    let stack = stack_of(victim.id())?;
    process_vm_writev(pid, &[IoSlice::new(&[0; 8])], &[RemoteIoVec { base: stack, len: 8 }])?;
    ptrace::detach(pid, None)?;
    victim.kill()?;
    victim.wait()?;

    let program = load_program()?;
    let io_uring = io_uring();
    UdpSocket::bind("127.0.0.1:0")?.send_to(QUESTION, "127.0.0.1:53")?;
    file(&folder)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let here = folder.join("mounted");
    fs::create_dir(&here)?;
    mount(Some("deeds-tmpfs"), &here, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    umount2(&here, MntFlags::MNT_DETACH)?;
    println!(
        "{}",
        json!({ "pid": std::process::id(), "victim": pid.as_raw(), "program": program, "io_uring": io_uring })
    );
    Ok(())
}

/// A file is written, made executable, renamed by a relative name, run, and deleted while it runs.
fn file(folder: &std::path::Path) -> Result<()> {
    fs::copy(std::env::current_exe()?, folder.join("fetched"))?;
    fs::set_permissions(folder.join("fetched"), PermissionsExt::from_mode(0o755))?;
    // By relative names: whoever started us did so in that folder.
    fs::rename("fetched", "renamed")?;
    let mut running = Command::new(folder.join("renamed")).arg("sleep").spawn()?;
    fs::remove_file("renamed")?;
    running.kill()?;
    running.wait()?;
    Ok(())
}

fn sleeper() -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).arg("sleep").stdin(Stdio::null()).spawn()?)
}

/// An address that the process can write to.
fn stack_of(pid: u32) -> Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]")).context("no stack")?;
    let start = line.split('-').next().context("an odd line")?;
    Ok(usize::from_str_radix(start, 16)?)
}

/// `r0 = 0; exit` as a socket filter; the program's number.
fn load_program() -> Result<i64> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const SOCKET_FILTER: u32 = 1;
    let code: [u64; 2] = [0xb7, 0x95];
    let mut attributes = [0_u8; 128];
    attributes[0..4].copy_from_slice(&SOCKET_FILTER.to_ne_bytes());
    attributes[4..8].copy_from_slice(&2_u32.to_ne_bytes());
    attributes[8..16].copy_from_slice(&(code.as_ptr().expose_provenance() as u64).to_ne_bytes());
    attributes[16..24].copy_from_slice(&(c"GPL".as_ptr().expose_provenance() as u64).to_ne_bytes());
    // Before 5.11 programs count against it, together with the agent's.
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).or_else(|_| anyhow::Ok(()))?;
    attributes[48..53].copy_from_slice(b"deeds");
    // SAFETY: the kernel reads 128 bytes of attributes, and the code and license they point to; all outlive the call.
    let number =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, attributes.as_ptr(), attributes.len()) };
    ensure!(number >= 0, "load a BPF program: {}", io::Error::last_os_error());
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("prog_id:")).context("no prog_id")?;
    Ok(id.trim().parse()?)
}

/// Whether this kernel has it, and lets us.
fn io_uring() -> bool {
    let mut parameters = [0_u8; 120];
    // SAFETY: the kernel reads and writes 120 bytes of parameters.
    let number = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) };
    number >= 0
}
