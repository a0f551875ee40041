//! A child that is held before the first instruction of its program, to be looked at.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The child; it never runs an instruction of its program. Must be dropped or killed by the thread that started it.
pub struct Held {
    child: Child,
}

impl Held {
    /// Starts `program` and returns when it has been executed and stands still.
    pub fn spawn(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        #[expect(unsafe_code, reason = "only the child itself can ask to be held")]
        // SAFETY: between fork and exec this makes one system call and touches no memory of others.
        unsafe {
            command.pre_exec(|| ptrace::traceme().map_err(io::Error::from))
        };
        let held = Self { child: command.spawn()? };
        match waitpid(held.raw()?, None)? {
            WaitStatus::Stopped(..) => Ok(held),
            other => Err(io::Error::other(format!("the child did not stop at its exec but: {other:?}"))),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and waits until it has ended.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn raw(&self) -> io::Result<Pid> {
        i32::try_from(self.child.id()).map(Pid::from_raw).map_err(io::Error::other)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // After `kill` both only say that it has ended.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            tracing::debug!("a held child was already waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_program_has_not_run() {
        let held = Held::spawn(Path::new("/bin/true")).unwrap();
        let stat = std::fs::read(format!("/proc/{}/stat", held.pid())).unwrap();
        let stat = crate::proc::Stat::parse(&stat).unwrap();
        assert_eq!((stat.comm, stat.state), (crate::text::Bytes::from("true"), b't'));
        held.kill().unwrap();
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        assert!(Held::spawn(Path::new("/nowhere/at/all")).is_err());
    }
}
