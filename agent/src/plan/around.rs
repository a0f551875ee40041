//! How processes stand to each other beyond who begot whom: session, container, tracer, and who holds the other end of a
//! pipe, a UNIX socket or a connection over this host. What /proc says of that is read before the plan, and is a value
//! here.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::event::ProcessId;
use crate::text::Bytes;

/// A container's id is at least so many hexadecimal digits in the name of its control group.
const CONTAINER_DIGITS: usize = 32;

/// What /proc says of the living processes.
#[derive(Debug, Default)]
pub struct Around {
    /// Of each process.
    pub standings: HashMap<ProcessId, Standing>,
    /// Who has a pipe or socket open.
    pub holders: HashMap<Object, Vec<Holder>>,
    /// Of a socket, the sockets at its other end on this host.
    pub joined: HashMap<u64, Vec<u64>>,
    /// What each socket is, in a line.
    pub sockets: HashMap<u64, String>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its short name.
    pub name: Bytes,
    /// What it runs.
    pub executable: Bytes,
    /// Its session, 0 where its leader is not to be seen from here.
    pub session: i32,
    /// Who traces it, 0 for nobody.
    pub tracer: u32,
    /// Its control group, as the unified hierarchy (or one of the older ones) names it.
    pub cgroup: Bytes,
    /// Bytes of memory that are resident.
    pub resident: u64,
    /// The pipes and sockets it has open, each once.
    pub holds: Vec<Object>,
}

/// Something that processes share, by its inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// `pipe:[N]`
    Pipe(u64),
    /// `socket:[N]`
    Socket(u64),
}

/// A descriptor of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// Whose.
    pub process: ProcessId,
    /// Its number.
    pub fd: u32,
}

/// One process that stands in a relation to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Which.
    pub id: ProcessId,
    /// To whom.
    pub of: ProcessId,
    /// By what.
    pub by: String,
}

impl Object {
    /// What a link in `/proc/PID/fd` leads to, if it is one.
    pub fn of_link(link: &[u8]) -> Option<Self> {
        let number = |prefix: &[u8]| {
            let digits = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
            digits.first()?.is_ascii_digit().then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
        };
        number(b"socket:[").map(Self::Socket).or_else(|| number(b"pipe:[").map(Self::Pipe))
    }
}

impl Around {
    /// Who traces `of`, and whom it traces.
    pub fn tracers(&self, of: &ProcessId) -> Vec<Related> {
        let mut found = Vec::new();
        let tracer = self.standings.get(of).map_or(0, |standing| standing.tracer);
        for (id, standing) in &self.standings {
            if tracer != 0 && id.pid == tracer && id.boot == of.boot {
                found.push(Related { id: *id, of: *of, by: "traces it".to_owned() });
            } else if standing.tracer == of.pid && id.boot == of.boot {
                found.push(Related { id: *id, of: *of, by: "is traced by it".to_owned() });
            }
        }
        found.sort_by_key(|related| related.id);
        found
    }

    /// Who holds the other ends of the pipes and sockets of `of`: first of those that few hold, as a whole service may
    /// have inherited one.
    pub fn peers(&self, of: &ProcessId) -> Vec<Related> {
        let mut seen = HashSet::from([*of]);
        let mut found = Vec::new();
        let holds = self.standings.get(of).map_or(&[][..], |standing| &standing.holds);
        let mut ends: Vec<(usize, Object)> =
            holds.iter().map(|object| (self.other_ends(*object).count(), *object)).collect();
        ends.sort_unstable();
        for (_, object) in ends {
            for holder in self.other_ends(object) {
                if seen.insert(holder.process) {
                    found.push(Related { id: holder.process, of: *of, by: self.describe(object) });
                }
            }
        }
        found
    }

    /// Who holds the other end of `object` (of a pipe: any end).
    pub fn other_ends(&self, object: Object) -> impl Iterator<Item = Holder> {
        let ends = match object {
            Object::Pipe(_) => vec![object],
            Object::Socket(inode) => {
                let ends = self.joined.get(&inode).map_or(&[][..], Vec::as_slice);
                ends.iter().map(|end| Object::Socket(*end)).collect()
            }
        };
        ends.into_iter().flat_map(|end| self.holders.get(&end).map_or(&[][..], Vec::as_slice)).copied()
    }

    fn describe(&self, object: Object) -> String {
        match object {
            Object::Pipe(inode) => format!("pipe {inode}"),
            Object::Socket(inode) => self.sockets.get(&inode).map_or("socket", String::as_str).to_owned(),
        }
    }

    /// Who is in the session of `of`.
    pub fn session(&self, of: &ProcessId) -> Vec<Related> {
        let session = self.standings.get(of).map_or(0, |standing| standing.session);
        if session <= 0 {
            return Vec::new();
        }
        self.like(of, &format!("session {session}"), |standing| standing.session == session)
    }

    /// Who is in the container, or the control group, of `of`.
    pub fn container(&self, of: &ProcessId) -> Vec<Related> {
        let Some(group) = self.standings.get(of).and_then(|standing| group(standing.cgroup.as_slice()))
        else {
            return Vec::new();
        };
        let by = format!("control group {}", crate::text::escape(group));
        self.like(of, &by, |standing| {
            standing
                .cgroup
                .as_slice()
                .strip_prefix(group)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    fn like(&self, of: &ProcessId, by: &str, is: impl Fn(&Standing) -> bool) -> Vec<Related> {
        let mut ids: Vec<ProcessId> = self
            .standings
            .iter()
            .filter(|(id, standing)| *id != of && is(standing))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|id| Related { id, of: *of, by: by.to_owned() }).collect()
    }
}

/// The part of a control group's path that stands for a container, or the whole; nothing of the root, in which is who
/// belongs nowhere.
fn group(path: &[u8]) -> Option<&[u8]> {
    let mut end = 0_usize;
    for part in path.split(|&byte| byte == b'/') {
        end = end.saturating_add(part.len());
        let digits = part.split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max().unwrap_or(0);
        if digits >= CONTAINER_DIGITS {
            return path.get(..end);
        }
        end = end.saturating_add(1);
    }
    (!matches!(path, b"" | b"/" | b"/init.scope")).then_some(path)
}

#[cfg(test)]
#[path = "around_test.rs"]
mod tests;
