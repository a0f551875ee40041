//! The sockets of one network namespace: as the kernel lists them by netlink, and those that only its files in
//! /proc/PID/net show.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::attempts::Miss;
use super::netlink::{Doors, dump};
use super::procdir::ProcDir;
pub(super) use crate::netlink::diag::Socket;
use crate::netlink::diag::{KINDS, Kind};
use crate::proc::{inet_sockets, tcp_state, unix_sockets};

/// Bytes of one dump or text: some 100,000 sockets.
pub(super) const LIST_MAX: u64 = 16 << 20;

/// Protocol, our side, the other side.
type Ends<'a> = (&'a str, SocketAddr, SocketAddr);

/// What was found in one namespace.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) all: Vec<Socket>,
    /// Of those of `all`, how many the kernel listed by netlink; the rest was seen in /proc only.
    pub(super) listed: usize,
    /// What became of each list.
    pub(super) lists: Vec<(&'static str, Result<usize, Miss>)>,
}

/// Asks by netlink for all kinds; of a kind that is not answered so, /proc is read.
pub(super) fn list(doors: &Result<Doors, String>, dir: &ProcDir, deadline: Instant) -> Sockets {
    let mut found = Sockets::default();
    let mut unanswered = Vec::new();
    for kind in KINDS {
        let answer = match doors {
            Ok(doors) => ask(&kind, doors, deadline),
            Err(why) => Err(Miss::refused(why.clone())),
        };
        let became = match answer {
            Ok((sockets, lack)) => {
                let count = sockets.len();
                found.all.extend(sockets);
                lack.map_or(Ok(count), Err)
            }
            Err(miss) => {
                unanswered.push(kind.name);
                Err(miss)
            }
        };
        found.lists.push((kind.name, became));
    }
    found.listed = found.all.len();
    for name in unanswered {
        if let Ok((text, _)) = dir.text(&format!("net/{name}"), LIST_MAX) {
            found.all.extend(of_text(name, &text));
        }
    }
    found
}

fn ask(kind: &Kind, doors: &Doors, deadline: Instant) -> Result<(Vec<Socket>, Option<Miss>), Miss> {
    let most = usize::try_from(LIST_MAX).unwrap_or(usize::MAX);
    let answer = dump(&doors.diag, &kind.request(), most, deadline)?;
    Ok((kind.sockets(&answer.bytes), answer.lack))
}

/// The sockets of a file of /proc/PID/net; none of a file that lists none.
pub(super) fn of_text(name: &str, text: &[u8]) -> Vec<Socket> {
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else { return Vec::new() };
    match name {
        "packet" | "netlink" | "vsock" => Vec::new(),
        "unix" => unix_sockets(text)
            .into_iter()
            .map(|socket| Socket {
                protocol: match socket.kind {
                    1 => "unix stream",
                    2 => "unix datagram",
                    5 => "unix seqpacket",
                    _ => "unix",
                },
                // include/uapi/linux/net.h, `socket_state`.
                state: match socket.state {
                    1 => "UNCONNECTED",
                    2 => "CONNECTING",
                    3 => "CONNECTED",
                    4 => "DISCONNECTING",
                    _ => "UNKNOWN",
                },
                path: (!socket.path.is_empty()).then_some(socket.path),
                inode: socket.inode,
                ..Socket::default()
            })
            .collect(),
        _ => inet_sockets(text)
            .into_iter()
            .map(|socket| Socket {
                protocol: kind.name,
                local: Some(socket.local.to_string()),
                remote: Some(socket.remote.to_string()),
                state: tcp_state(socket.state),
                uid: Some(socket.uid),
                inode: socket.inode,
                send_queue: socket.send_queue,
                receive_queue: socket.receive_queue,
                addresses: Some((socket.local, socket.remote)),
                ..Socket::default()
            })
            .collect(),
    }
}

/// Of each socket, by inode number, the sockets at its other end, where that is on this host: of a UNIX socket as the
/// kernel says it; of an Internet one, who has the same addresses the other way round (over loopback: in the same
/// namespace). Pure.
pub(super) fn joined(all: &[(u32, &Socket)]) -> HashMap<u64, Vec<u64>> {
    let mut ends: HashMap<Ends<'_>, Vec<(u32, u64)>> = HashMap::new();
    for (namespace, socket) in all {
        if let Some((local, remote)) = socket.addresses
            && socket.inode != 0
        {
            let key = (protocol(socket), canonical(local), canonical(remote));
            ends.entry(key).or_default().push((*namespace, socket.inode));
        }
    }
    let mut joined: HashMap<u64, HashSet<u64>> = HashMap::new();
    for (namespace, socket) in all {
        if let Some((local, remote)) = socket.addresses
            && remote.port() != 0
        {
            let key = (protocol(socket), canonical(remote), canonical(local));
            let own = canonical(local).ip().is_loopback();
            let others = ends.get(&key).into_iter().flatten();
            for (_, inode) in others.filter(|(theirs, _)| !own || theirs == namespace) {
                if *inode != socket.inode {
                    joined.entry(socket.inode).or_default().insert(*inode);
                }
            }
        }
        let peers = socket.peer.into_iter().chain(socket.waiting.iter().copied());
        for peer in peers.filter(|peer| *peer != 0) {
            joined.entry(socket.inode).or_default().insert(peer);
            joined.entry(peer).or_default().insert(socket.inode);
        }
    }
    joined.remove(&0);
    joined
        .into_iter()
        .map(|(inode, ends)| {
            let mut ends: Vec<u64> = ends.into_iter().filter(|end| *end != 0).collect();
            ends.sort_unstable();
            (inode, ends)
        })
        .collect()
}

/// A socket in one line, for the lists of descriptors.
pub(super) fn describe(socket: &Socket) -> String {
    let (protocol, state) = (socket.protocol, socket.state);
    match (&socket.local, &socket.remote, &socket.path) {
        (Some(local), Some(remote), _) => format!("{protocol} {local} -> {remote} {state}"),
        (Some(local), None, _) => format!("{protocol} {local} {state}"),
        (_, _, Some(path)) => format!("{protocol} {path} {state}"),
        _ => format!("{protocol} {state}"),
    }
}

/// An IPv6 socket speaks with IPv4 ones as well.
fn protocol(socket: &Socket) -> &'static str {
    socket.protocol.strip_suffix('6').unwrap_or(socket.protocol)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[path = "sockets_test.rs"]
mod tests;
