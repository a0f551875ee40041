//! Executables of the living processes, by their paths on the host.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::collect::Context;
use crate::collect::walk::Walker;

/// Processes that are looked at, and of these the ones named with one path.
const PROCESSES_MAX: usize = 20_000;
const NAMED_MAX: usize = 16;

/// Who runs one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::collect) struct Running {
    /// Some of them.
    processes: Vec<String>,
    /// Processes whose executable has this path, but is another file: replaced or deleted since, or a container's own.
    other_file: u64,
}

pub(in crate::collect) fn running(context: &Context<'_>, walker: &Walker) -> BTreeMap<Vec<u8>, Running> {
    let mut all: BTreeMap<Vec<u8>, Running> = BTreeMap::new();
    let living = context.tree.nodes().filter(|node| node.lives_in(context.job.facts.boot));
    for node in living.take(PROCESSES_MAX) {
        let Some(path) = node.image().map(|image| image.executable.as_slice()) else { continue };
        if !path.starts_with(b"/") {
            continue;
        }
        // One that has ended meanwhile, or is a zombie, runs nothing.
        let Ok(runs) = context.pinned.get(node.id).and_then(|dir| {
            dir.behind("exe").map_err(|error| crate::collect::attempts::Miss::at("stat", &error))
        }) else {
            continue;
        };
        let one = all.entry(path.to_vec()).or_default();
        let on_host = walker.resolve(path).map(|entry| (entry.attributes.device, entry.attributes.inode));
        if on_host != Ok((runs.device, runs.inode)) {
            one.other_file = one.other_file.saturating_add(1);
        } else if one.processes.len() < NAMED_MAX {
            one.processes.push(node.id.short());
        }
    }
    all
}
