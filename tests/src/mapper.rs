//! The third scene: code that is nowhere on disk, in eight ways, and two processes in which there is none.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::proc::Seen;
use crate::world::BIN;

/// What runs: see tests/src/bin/mapper.rs.
pub const SCENES: [&str; 9] =
    ["clean", "python", "patched", "memfd", "deleted", "sparse", "anonymous", "stack", "vdso"];
/// What is written into the text of a library: a jump.
pub const HOOK: [u8; 5] = [0xe9, 0x11, 0x22, 0x33, 0x44];
/// And where, as an offset in its file.
pub const HOOKED_AT: usize = 0x2_0123;
/// The library that is deleted while it is mapped.
pub const DELETED: &str = "/tmp/libdeleted.so";
/// The name of the memfd that is mapped.
pub const PLUGIN: &str = "plugin";
/// The file that is deleted while it is open; nearly all of it is a hole.
pub const SPARSE: &str = "/tmp/sparse";
/// Its size.
pub const SPARSE_SIZE: u64 = 900 << 20;
/// Its data.
pub const PIECES: [(u64, &[u8]); 3] =
    [(0, b"the beginning"), (500 << 20, b"the middle"), ((900 << 20) - 7, b"the end")];
/// What stands in the executable page without a file: `mov eax, 42; ret`.
pub const ANONYMOUS: [u8; 6] = [0xb8, 0x2a, 0, 0, 0, 0xc3];

/// All of them, running.
pub struct Mapper {
    child: Child,
    /// Who started them.
    pub seen: Seen,
    /// What each says of itself.
    pub report: Value,
}

impl Mapper {
    /// Starts them with `library`, and waits for their reports.
    pub fn start(library: &str) -> Result<Self> {
        let mut child = Command::new(format!("{BIN}/mapper"))
            .args(["all", library])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the mapper")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let report = serde_json::from_str(&line).with_context(|| format!("the mapper said {line}"))?;
        let seen = Seen::of(child.id())?;
        Ok(Self { child, seen, report })
    }

    /// Pid and start time of a scene's process, as the bundle has it.
    pub fn short(&self, scene: &str) -> Result<String> {
        let pid = self.report[scene]["pid"].as_u64().with_context(|| format!("no pid of {scene}"))?;
        let seen = Seen::of(u32::try_from(pid)?)?;
        Ok(format!("{}-{}", seen.pid, seen.start))
    }

    /// Where the scene has what it is about, as a hexadecimal number.
    pub fn address(&self, scene: &str) -> Result<u64> {
        let text =
            self.report[scene]["address"].as_str().with_context(|| format!("no address of {scene}"))?;
        Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
