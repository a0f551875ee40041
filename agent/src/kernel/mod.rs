//! The way in: BTF offsets, load and attach, ring, self-check; and what already ran.
//!
//! ```text
//! btf ─▶ layout ─▶ probe ─▶ ring ─▶ record ─▶ events
//!                    └─▶ selfcheck: the same, compared with /proc
//! ```

mod attaching;
mod btf;
mod call;
mod dns;
mod layout;
mod loss;
pub mod physical;
mod probe;
mod program;
mod record;
mod report;
mod ring;
mod scan;
mod selfcheck;
mod tasks;

use std::path::{Path, PathBuf};

pub use loss::{Counts, KindCounts};
pub use probe::{Options, Probe};
pub use report::{Fate, ProgramReport, Report};
pub use ring::{RING_ROUNDS, ROUND};
pub use scan::scan;
pub use tasks::{List, Tasks};

use crate::event::BootId;

/// Why the probe could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file the start needs.
    #[error("{step}: {}: {source}", path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The kernel's types are not for us to read.
    #[error("the probe needs root (or CAP_BPF and CAP_PERFMON): reading the kernel's types: {}: {source}", path.display())]
    Denied {
        /// Where they are.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file's text is not what it should be.
    #[error("{step}: {} holds no usable value", path.display())]
    Text {
        /// What was being done.
        step: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The kernel's type information is not.
    #[error("reading the kernel's types: {0}")]
    Btf(#[from] btf::Error),
    /// The library that loads the probe does not understand them.
    #[error("the kernel's types are not understood: {0}")]
    Types(String),
    /// A field that every program needs.
    #[error("this kernel's types do not fit the probe: {0}; report the kernel's release")]
    Layout(String),
    /// The kernel refused the maps.
    #[error("loading the probe: {0}; root (CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE) is needed")]
    Load(#[from] Box<aya::EbpfError>),
    /// A map of the probe's object.
    #[error("opening the probe's map {name}: {source}")]
    Map {
        /// Which.
        name: &'static str,
        /// Why not.
        source: Box<aya::maps::MapError>,
    },
    /// The ring cannot be waited for.
    #[error("waiting for the probe's records: {0}")]
    Wake(nix::errno::Errno),
    /// The object does not have what the agent expects: they were not built together.
    #[error("the probe's object has no {0}: it was not built with this agent")]
    Object(&'static str),
    /// Not one program that shows processes could be attached.
    #[error("the kernel lets no program see processes start: {0}")]
    Blind(String),
}

/// The number by which the running kernel's BTF knows the function `name`.
pub fn function_id(name: &str) -> Result<u32, Error> {
    let path = PathBuf::from(probe::VMLINUX);
    let data = std::fs::read(&path).map_err(|source| Error::File {
        step: "reading the kernel's types",
        path,
        source,
    })?;
    Ok(btf::Btf::parse(&data)?.function(name)?)
}

/// The identity of this boot, from `sys/kernel/random/boot_id` below `proc_root`.
pub fn boot_id(proc_root: &Path) -> Result<BootId, Error> {
    let path = proc_root.join("sys/kernel/random/boot_id");
    let step = "reading the boot's identity";
    let text =
        std::fs::read_to_string(&path).map_err(|source| Error::File { step, path: path.clone(), source })?;
    text.parse().map_err(|_| Error::Text { step, path })
}
