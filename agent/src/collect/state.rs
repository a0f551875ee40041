//! What one process may do and is bound by, as JSON: session and terminal, capabilities, seccomp, signals, limits,
//! timers, control groups. The texts it is made of are in the bundle beside it.

use serde::Serialize;

use super::attempts::{Gathered, Miss, json};
use super::procdir::ProcDir;
use crate::proc::{Limit, Rights, Status, Timer, limits, memberships, timers};
use crate::text::Bytes;

const TEXT_MAX: u64 = 1 << 20;

#[derive(Serialize)]
struct State {
    session: i32,
    process_group: i32,
    /// The controlling terminal as a device number, 0 for none.
    terminal: i32,
    tracer: Option<u32>,
    /// Real, effective, saved and file system user; then groups.
    users: [u32; 4],
    groups: [u32; 4],
    /// Its pid in each PID namespace, from ours inwards.
    pids: Vec<u32>,
    #[serde(flatten)]
    rights: Rights,
    limits: Vec<Limit>,
    timers: Vec<Timer>,
    cgroups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    hierarchy: u32,
    controllers: Bytes,
    path: Bytes,
}

/// `state.json`.
pub(super) fn state(dir: &ProcDir) -> Result<Gathered, Miss> {
    let text = |name| dir.text(name, TEXT_MAX).map(|(text, _)| text);
    let whole = text("status")?;
    let status = Status::parse(&whole).map_err(|error| Miss::refused(error.to_string()))?;
    let cgroups = memberships(&text("cgroup").unwrap_or_default()).into_iter().map(|member| Group {
        hierarchy: member.hierarchy,
        controllers: member.controllers,
        path: member.path,
    });
    let state = State {
        session: dir.stat.session,
        process_group: dir.stat.pgrp,
        terminal: dir.stat.tty,
        tracer: (status.tracer != 0).then_some(status.tracer),
        users: status.uids,
        groups: status.gids,
        pids: status.namespace_pids,
        rights: Rights::parse(&whole),
        limits: limits(&text("limits").unwrap_or_default()),
        timers: timers(&text("timers").unwrap_or_default()),
        cgroups: cgroups.collect(),
    };
    Ok((json(&state)?, None))
}
