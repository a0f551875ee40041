//! The gate: the process that the kernel asks before it executes a file (fanotify, `FAN_OPEN_EXEC_PERM`).
//!
//! The answer is always yes. What it gains is the moment: the program waits, its file is open, and the descriptor goes
//! to the recorder before the first instruction runs. So no executable is lost to a process that lives for less than a
//! millisecond and deletes itself.
//!
//! While the gate does not answer, programs wait. Therefore it opens nothing by a name that others choose, never forks
//! (a copy of the group's descriptor would keep them waiting), and is watched and killed from outside: when its
//! descriptor is gone, the kernel lets everything through.

mod group;
mod marks;
pub mod message;
mod mounts;
mod serve;
mod table;

pub use serve::run;

/// Why the gate ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The recorder cannot be reached.
    #[error(transparent)]
    Ipc(#[from] crate::ipc::Error),
}

fn failed(step: &'static str) -> impl FnOnce(nix::errno::Errno) -> Error {
    move |errno| Error::Io { step, source: errno.into() }
}

/// Whether the kernel would ask us (`CONFIG_FANOTIFY_ACCESS_PERMISSIONS`, `CAP_SYS_ADMIN`). Nothing is marked for it.
pub fn is_possible() -> Result<(), Error> {
    group::Group::new().map(drop)
}
