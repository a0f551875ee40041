//! All BPF programs that the kernel lists; those that it does not list are the hidden things' (`hidden/bpf.json`).

use std::os::fd::AsFd;
use std::time::Instant;

use serde::Serialize;

use crate::bundle::Outcome;
use crate::collect::attempts::{Found, Miss};
use crate::system::bpf_objects as objects;
use crate::text::{self, Bytes};

/// Programs of one host.
const PROGRAMS_MAX: usize = 20_000;

#[derive(Serialize)]
struct Row {
    id: u32,
    /// `BPF_PROG_TYPE_*`, by its number.
    kind: u32,
    name: Bytes,
    /// A hash of its instructions.
    tag: String,
    /// Nanoseconds since the boot.
    loaded: u64,
}

/// A line for each.
pub(super) fn all(until: Instant) -> Result<Found<'static>, Miss> {
    let (mut lines, mut last, mut count, mut over) = (Vec::new(), 0, 0_usize, false);
    while let Some(id) = objects::next(last).map_err(|error| Miss::at("list the BPF programs", &error))? {
        if id <= last || count >= PROGRAMS_MAX || Instant::now() >= until {
            over = true;
            break;
        }
        (last, count) = (id, count.saturating_add(1));
        // One that has gone meanwhile is none.
        let Ok(Some(program)) = objects::by_number(id) else { continue };
        let Ok(found) = objects::describe(program.as_fd()) else { continue };
        let objects::Program { kind, name, tag, loaded, .. } = found;
        let row = Row { id, kind, name: Bytes(name), tag: text::hex(&tag), loaded };
        serde_json::to_writer(&mut lines, &row)
            .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
        lines.push(b'\n');
    }
    let lack = over.then(|| Miss::new(Outcome::Partial, format!("the first {count} programs")));
    Ok(Found::bytes(lines).lacking(lack))
}
