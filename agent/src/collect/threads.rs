//! The threads of one process, as JSON: each with its own words of the kernel.

use serde::Serialize;

use super::attempts::{Gathered, Miss, json};
use super::procdir::ProcDir;
use crate::text::Bytes;

/// Threads of one process; more are counted as missing.
const THREADS_MAX: usize = 16_384;

/// A text of one thread.
const TEXT_MAX: u64 = 64 << 10;

#[derive(Serialize)]
struct Thread {
    tid: u32,
    comm: Bytes,
    status: Bytes,
    stat: Bytes,
    wchan: Bytes,
    syscall: Bytes,
    stack: Bytes,
}

/// `threads.json`.
pub(super) fn threads(dir: &ProcDir) -> Result<Gathered, Miss> {
    let (tids, whole) = dir.numbers("task", THREADS_MAX).map_err(|error| Miss::at("list threads", &error))?;
    let rows: Vec<Thread> = tids
        .iter()
        .map(|tid| {
            let text = |name| {
                let path = format!("task/{tid}/{name}");
                Bytes(
                    dir.text(&path, TEXT_MAX).map(|(text, _)| text.trim_ascii().to_vec()).unwrap_or_default(),
                )
            };
            Thread {
                tid: *tid,
                comm: text("comm"),
                status: text("status"),
                stat: text("stat"),
                wchan: text("wchan"),
                syscall: text("syscall"),
                stack: text("stack"),
            }
        })
        .collect();
    let lack = (!whole).then(|| Miss::partial(format!("more than {THREADS_MAX} threads")));
    Ok((json(&rows)?, lack))
}
