//! A parent that looks for stops of its children as a shell does: by waitpid with WUNTRACED, and by SIGCHLD.
//!
//! `stops PROGRAM...` runs each program once and then one that stops itself, to show that a stop would be seen. Says as
//! one JSON line what it saw.

use std::env;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::json;

/// SIGCHLDs that say that a child was stopped, or went on.
static SIGNALLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_child(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid one.
    let code = unsafe { (*info).si_code };
    if code == libc::CLD_STOPPED || code == libc::CLD_CONTINUED {
        SIGNALLED.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<()> {
    let handler = SigAction::new(
        SigHandler::SigAction(on_child),
        SaFlags::SA_RESTART | SaFlags::SA_SIGINFO,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing but add to an atomic.
    unsafe { sigaction(Signal::SIGCHLD, &handler) }?;
    let programs: Vec<CString> =
        env::args_os().skip(1).map(|program| CString::new(program.into_vec())).collect::<Result<_, _>>()?;
    let mut waited = 0;
    for program in &programs {
        waited += run(program, &[program])?;
    }
    let signalled = SIGNALLED.load(Ordering::Relaxed);
    let shell = [c"sh", c"-c", c"kill -STOP $$"];
    let control = run(c"/bin/sh", &shell)?;
    println!(
        "{}",
        json!({"programs": programs.len(), "waited": waited, "signalled": signalled,
            "control_waited": control, "control_signalled": SIGNALLED.load(Ordering::Relaxed) - signalled})
    );
    Ok(())
}

/// Runs it to its end; how often waitpid said that it stopped or went on.
fn run(program: &CStr, arguments: &[&CStr]) -> Result<u64> {
    let none: [&CStr; 0] = [];
    let pid =
        posix_spawn(program, &PosixSpawnFileActions::init()?, &PosixSpawnAttr::init()?, arguments, &none)?;
    let mut stops = 0;
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED))? {
            WaitStatus::Stopped(..) => {
                stops += 1;
                // Whoever stopped it may let it go on by itself; a second signal does no harm.
                kill(pid, Signal::SIGCONT)?;
            }
            WaitStatus::Continued(_) => stops += 1,
            WaitStatus::Exited(_, 0) => return Ok(stops),
            other => bail!("{program:?} ended badly: {other:?}"),
        }
    }
}
