//! Processes whose pids are used again and again: `reuse serial=00000000 SLOTS`, with `SERIAL=00000000` in the environment.
//!
//! Each of its children has a serial number in its command line, its environment, its name, its memory and a memfd. A
//! child is killed and at once replaced by one with the same pid and another serial number (clone3 with `set_tid`). For each
//! line on stdin it says how many were replaced so far; it ends with its stdin, or after two minutes.

use std::ffi::CStr;
use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};
use std::{env, fs, process, ptr, thread};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

const LIFETIME: Duration = Duration::from_secs(120);
const DIGITS: usize = 8;

/// Where the children write their number for whoever reads their memory; the marker is whole only in a child.
static mut IN_MEMORY: [u8; 64] = [0; 64];

fn main() -> Result<()> {
    let slots: usize = env::args().nth(2).context("usage: reuse serial=00000000 SLOTS")?.parse()?;
    let places = places()?;
    let (said, lines) = channel();
    thread::spawn(move || stdin().lock().lines().map_while(Result::ok).try_for_each(|_| said.send(())));
    let mut serial = 1_u64;
    let mut pids = Vec::new();
    for _ in 0..slots {
        pids.push(child(None, serial, &places)?);
        serial += 1;
    }
    let (mut swaps, begun, mut state) = (0_u64, Instant::now(), 88_172_645_463_325_252_u64);
    println!("ready");
    while begun.elapsed() < LIFETIME {
        match lines.try_recv() {
            Ok(()) => {
                println!("{swaps}");
                stdout().flush()?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let slot = usize::try_from(state % u64::try_from(slots)?)?;
        kill(pids[slot], Signal::SIGKILL)?;
        waitpid(pids[slot], None)?;
        let again = child(Some(pids[slot]), serial, &places)?;
        ensure!(again == pids[slot], "the kernel gave {again} and not {}", pids[slot]);
        serial += 1;
        swaps += 1;
        // Lives of some milliseconds each: long enough to be opened, too short to be read whole.
        thread::sleep(Duration::from_micros(state % 1400));
    }
    for pid in pids {
        kill(pid, Signal::SIGKILL)?;
    }
    Ok(())
}

/// The addresses of the numbers in our own arguments and environment.
fn places() -> Result<Vec<usize>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(") ").context("an odd stat")?;
    // proc(5): arg_start, arg_end, env_start, env_end are the fields 48 to 51; the rest begins with the third.
    let fields: Vec<usize> =
        rest.split(' ').skip(45).take(4).filter_map(|field| field.parse().ok()).collect();
    let mut places = Vec::new();
    for (start, end, marker) in [(fields[0], fields[1], "serial="), (fields[2], fields[3], "SERIAL=")] {
        // SAFETY: the kernel put our own arguments and environment there, and they stay.
        let text =
            unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(start), end - start) };
        let at = text.windows(marker.len()).position(|window| window == marker.as_bytes());
        places.push(start + at.with_context(|| format!("no {marker}"))? + marker.len());
    }
    Ok(places)
}

/// A child, with this pid if one is given.
fn child(pid: Option<Pid>, serial: u64, places: &[usize]) -> Result<Pid> {
    let wanted = pid.map_or(0, Pid::as_raw);
    // SAFETY: all zeros is a valid clone_args; `wanted` outlives the call.
    let result = unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.exit_signal = libc::SIGCHLD as u64;
        if pid.is_some() {
            arguments.set_tid = (&raw const wanted).expose_provenance() as u64;
            arguments.set_tid_size = 1;
        }
        // As fork: only the calling thread goes on in the child, which takes no lock.
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    ensure!(result >= 0, "clone3 with set_tid {wanted}: {}", std::io::Error::last_os_error());
    if result == 0 {
        live(serial, places);
    }
    Ok(Pid::from_raw(i32::try_from(result)?))
}

/// The child: writes its number wherever somebody may look, and waits for its end. No allocation, no lock.
fn live(serial: u64, places: &[usize]) -> ! {
    let mut digits = [b'0'; DIGITS];
    let mut rest = serial;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut name = *b"serial-00000000\0";
    name[7..15].copy_from_slice(&digits);
    let number = &name[7..15];
    // SAFETY: the places are our own memory of this length; the name ends with a NUL; this process has one thread.
    unsafe {
        for place in places {
            ptr::copy_nonoverlapping(number.as_ptr(), ptr::with_exposed_provenance_mut(*place), DIGITS);
        }
        // Pipes that all have in common would name the others in each one's list of descriptors.
        for file in 0..3 {
            libc::close(file);
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        let memory = &raw mut IN_MEMORY;
        ptr::copy_nonoverlapping(b"serial:".as_ptr(), memory.cast(), 7);
        ptr::copy_nonoverlapping(number.as_ptr(), memory.cast::<u8>().add(7), DIGITS);
        if let Ok(name) = CStr::from_bytes_with_nul(&name) {
            let file = libc::memfd_create(name.as_ptr(), 0);
            libc::write(file, memory.cast(), 7 + DIGITS);
        }
        loop {
            libc::pause();
            if libc::getppid() == 1 {
                process::abort();
            }
        }
    }
}
