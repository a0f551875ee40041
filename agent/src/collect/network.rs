//! Sockets with their owners, routes and neighbours, of each network namespace that a process in scope lives in, and of
//! the agent's own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::procdir::ProcDir;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::event::ProcessId;
use crate::proc::{InetSocket, UnixSocket, inet_sockets, namespace_inode, tcp_state, unix_sockets};
use crate::text::Bytes;

/// Copied from `/proc/PID/net`, as they are.
const TEXTS: &[&str] = &[
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "raw",
    "raw6",
    "icmp",
    "icmp6",
    "unix",
    "packet",
    "netlink",
    "route",
    "ipv6_route",
    "arp",
    "dev",
    "if_inet6",
    "fib_trie",
    "igmp",
    "sockstat",
    "snmp",
    "ptype",
];

/// Bytes of one text: some 100,000 sockets.
const TEXT_MAX: u64 = 16 << 20;

/// Descriptors of one process, and of all.
const FDS_MAX: usize = 65_536;
const ALL_FDS_MAX: usize = 1 << 20;

/// Network namespaces.
const NAMESPACES_MAX: usize = 256;

#[derive(Clone, Debug, Serialize)]
struct Owner {
    process: ProcessId,
    pid: u32,
    fd: u32,
    name: Bytes,
    executable: Bytes,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    namespace: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Bytes>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    inode: u64,
    send_queue: u64,
    receive_queue: u64,
    owners: &'a [Owner],
}

/// Who holds which socket, and what could not be seen of it.
#[derive(Default)]
struct Owners {
    by_inode: HashMap<u64, Vec<Owner>>,
    descriptors: usize,
    lacks: Vec<String>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let namespaces = namespaces(context);
    attempts.expect(namespaces.len().saturating_mul(TEXTS.len()).saturating_add(1));
    let mut inet: Vec<(u32, &'static str, InetSocket)> = Vec::new();
    let mut unix: Vec<(u32, UnixSocket)> = Vec::new();
    for (namespace, dir) in &namespaces {
        for text in TEXTS {
            let label = namespace.to_string();
            let name = Name::data(&["network", &label, text]);
            attempts.take(format!("net:[{namespace}] {text}"), &name, |_| {
                let read = dir.text(&format!("net/{text}"), TEXT_MAX);
                dir.check()?;
                let (bytes, lack) = read.map_err(|miss| dir.missed(miss))?;
                match *text {
                    "unix" => {
                        unix.extend(unix_sockets(&bytes).into_iter().map(|socket| (*namespace, socket)));
                    }
                    "tcp" | "tcp6" | "udp" | "udp6" | "udplite" | "udplite6" | "raw" | "raw6" | "icmp"
                    | "icmp6" => {
                        inet.extend(
                            inet_sockets(&bytes).into_iter().map(|socket| (*namespace, *text, socket)),
                        );
                    }
                    _ => {}
                }
                Ok(Found::bytes(bytes).lacking(lack))
            })?;
        }
    }
    let owners = owners(context, attempts);
    let rows: Vec<Row<'_>> = inet
        .iter()
        .map(|(namespace, protocol, socket)| inet_row(*namespace, protocol, socket, &owners))
        .chain(unix.iter().map(|(namespace, socket)| unix_row(*namespace, socket, &owners)))
        .collect();
    attempts.take("sockets", &Name::data(&["network", "sockets.json"]), |_| {
        let lack = (!owners.lacks.is_empty()).then(|| Miss::partial(owners.lacks.join("; ")));
        Ok(Found::json(&rows)?.lacking(lack))
    })?;
    context.sockets = rows.iter().map(|row| (row.inode, describe(row))).collect();
    Ok(())
}

/// One living process for each namespace, in the order of the plan.
fn namespaces(context: &Context<'_>) -> BTreeMap<u32, Arc<ProcDir>> {
    let own = ProcDir::own(&context.job.places.proc).ok().map(Arc::new);
    let scope = context.plan.scope.iter().filter(|one| one.state);
    let dirs = scope.filter_map(|one| context.pinned.get(one.id).ok()).chain(own);
    let mut found = BTreeMap::new();
    for dir in dirs {
        let namespace = dir.link("ns/net").ok().and_then(|link| namespace_inode(&link));
        if let Some(namespace) = namespace
            && found.len() < NAMESPACES_MAX
        {
            found.entry(namespace).or_insert(dir);
        }
    }
    found
}

/// Looks through the descriptors of all living processes that the tree knows.
fn owners(context: &Context<'_>, attempts: &Attempts<'_>) -> Owners {
    let mut owners = Owners::default();
    for node in context.tree.nodes().filter(|node| node.lives_in(context.job.facts.boot)) {
        if attempts.late() || owners.descriptors >= ALL_FDS_MAX {
            owners.lacks.push("not all processes were asked for their descriptors".to_owned());
            break;
        }
        let Ok(dir) = context.pinned.get(node.id) else { continue };
        match dir.numbers("fd", FDS_MAX) {
            Ok((fds, whole)) => {
                if !whole {
                    owners.lacks.push(format!("pid {} has more than {FDS_MAX} descriptors", node.id.pid));
                }
                owners.add(&dir, &fds);
            }
            Err(error) => owners.lacks.push(format!("descriptors of pid {}: {error}", node.id.pid)),
        }
    }
    owners.lacks.truncate(16);
    owners
}

impl Owners {
    fn add(&mut self, dir: &ProcDir, fds: &[u32]) {
        let executable = Bytes(dir.link("exe").unwrap_or_default());
        self.descriptors = self.descriptors.saturating_add(fds.len());
        for fd in fds {
            let Some(inode) = dir.link(&format!("fd/{fd}")).ok().and_then(|link| socket_inode(&link)) else {
                continue;
            };
            self.by_inode.entry(inode).or_default().push(Owner {
                process: dir.id(),
                pid: dir.id().pid,
                fd: *fd,
                name: dir.stat.comm.clone(),
                executable: executable.clone(),
            });
        }
    }

    fn of(&self, inode: u64) -> &[Owner] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }
}

/// The inode number in `socket:[<inode>]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn inet_row<'a>(namespace: u32, protocol: &'static str, socket: &InetSocket, owners: &'a Owners) -> Row<'a> {
    Row {
        namespace,
        protocol,
        local: Some(socket.local.to_string()),
        remote: Some(socket.remote.to_string()),
        path: None,
        state: tcp_state(socket.state),
        uid: Some(socket.uid),
        inode: socket.inode,
        send_queue: socket.send_queue,
        receive_queue: socket.receive_queue,
        owners: owners.of(socket.inode),
    }
}

fn unix_row<'a>(namespace: u32, socket: &UnixSocket, owners: &'a Owners) -> Row<'a> {
    let protocol = match socket.kind {
        1 => "unix stream",
        2 => "unix datagram",
        5 => "unix seqpacket",
        _ => "unix",
    };
    // include/uapi/linux/net.h, `socket_state`.
    let state = match socket.state {
        1 => "UNCONNECTED",
        2 => "CONNECTING",
        3 => "CONNECTED",
        4 => "DISCONNECTING",
        _ => "UNKNOWN",
    };
    Row {
        namespace,
        protocol,
        local: None,
        remote: None,
        path: (!socket.path.is_empty()).then(|| socket.path.clone()),
        state,
        uid: None,
        inode: socket.inode,
        send_queue: 0,
        receive_queue: 0,
        owners: owners.of(socket.inode),
    }
}

/// A socket in one line, for the lists of descriptors.
fn describe(row: &Row<'_>) -> String {
    let (protocol, state) = (row.protocol, row.state);
    match (&row.local, &row.remote, &row.path) {
        (Some(local), Some(remote), _) => format!("{protocol} {local} -> {remote} {state}"),
        (_, _, Some(path)) => format!("{protocol} {path} {state}"),
        _ => format!("{protocol} {state}"),
    }
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
