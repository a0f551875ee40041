//! Sockets, as the kernel's own list of them says (sock_diag(7)): with queues, owners and, of UNIX sockets, the other
//! end, which no file of /proc shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use super::{array, attributes, byte, dump, family, messages, port, word};
use crate::text::Bytes;

/// `SOCK_DIAG_BY_FAMILY`.
pub const BY_FAMILY: u16 = 20;
/// The fixed part of an inet answer.
const INET_FIXED: usize = 72;
const UNIX_FIXED: usize = 16;
/// Connections that wait at one listener; more are left out.
const WAITING_MAX: usize = 1024;

/// What can be asked for, each in one dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// As in the file of /proc/net.
    pub name: &'static str,
    family: u8,
    /// `IPPROTO_*`; of the others what means all.
    protocol: u8,
}

/// All of them.
pub const KINDS: [Kind; 12] = [
    Kind { name: "tcp", family: family::INET, protocol: 6 },
    Kind { name: "tcp6", family: family::INET6, protocol: 6 },
    Kind { name: "udp", family: family::INET, protocol: 17 },
    Kind { name: "udp6", family: family::INET6, protocol: 17 },
    Kind { name: "udplite", family: family::INET, protocol: 136 },
    Kind { name: "udplite6", family: family::INET6, protocol: 136 },
    Kind { name: "raw", family: family::INET, protocol: 255 },
    Kind { name: "raw6", family: family::INET6, protocol: 255 },
    Kind { name: "unix", family: family::UNIX, protocol: 0 },
    Kind { name: "packet", family: family::PACKET, protocol: 0 },
    Kind { name: "netlink", family: family::NETLINK, protocol: 255 },
    Kind { name: "vsock", family: family::VSOCK, protocol: 0 },
];

/// One socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// As in /proc/net; of a UNIX socket with its type (`unix stream`).
    pub protocol: &'static str,
    /// Our side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The name of a UNIX socket; an abstract one begins with `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Bytes>,
    /// In the kernel's word.
    pub state: &'static str,
    /// Owner, as a number, where the kernel says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The name of its descriptors; 0 when nobody holds it.
    pub inode: u64,
    /// Bytes not yet sent or acknowledged.
    pub send_queue: u64,
    /// Bytes not yet read; of a listener, connections not yet accepted.
    pub receive_queue: u64,
    /// Of a UNIX socket, the inode of the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<u64>,
    /// Of a UNIX listener, the inodes of the far ends that wait to be accepted (0 of one that has closed).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<u64>,
    /// The interface it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
    /// The addresses as values, to find the other end.
    #[serde(skip)]
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

impl Kind {
    /// The request for all of them.
    pub fn request(&self) -> Vec<u8> {
        // The families' requests share their beginning; all states, all inodes, no cookie.
        let mut body = vec![self.family, self.protocol, 0, 0];
        match self.family {
            family::INET | family::INET6 => {
                body.extend(u32::MAX.to_ne_bytes());
                body.resize(56, 0);
            }
            family::UNIX => {
                // name, peer, waiting connections, queues, owner
                let show: u32 = 0x01 | 0x04 | 0x08 | 0x10 | 0x40;
                body.extend([u32::MAX, 0, show, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat());
            }
            family::VSOCK => {
                body.extend([u32::MAX, 0, 0, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat());
            }
            _ => body.extend([0, 1, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat()),
        }
        dump(BY_FAMILY, &body)
    }

    /// The sockets that `bytes` (one or more whole datagrams) tell of; other messages are passed over.
    pub fn sockets(&self, bytes: &[u8]) -> Vec<Socket> {
        messages(bytes)
            .filter(|message| message.kind == BY_FAMILY)
            .filter_map(|message| self.socket(message.body))
            .collect()
    }

    fn socket(&self, body: &[u8]) -> Option<Socket> {
        match self.family {
            family::INET | family::INET6 => inet(self.name, body),
            family::UNIX => unix(body),
            family::PACKET => packet(body),
            family::NETLINK => netlink(body),
            _ => vsock(body),
        }
    }
}

fn inet(protocol: &'static str, body: &[u8]) -> Option<Socket> {
    body.get(..INET_FIXED)?;
    let ip = |at| match byte(body, 0)? {
        family::INET => Some(IpAddr::V4(Ipv4Addr::from(array::<4>(body, at)?))),
        family::INET6 => Some(IpAddr::V6(Ipv6Addr::from(array::<16>(body, at)?))),
        _ => None,
    };
    let local = SocketAddr::new(ip(8)?, port(body, 4)?);
    let remote = SocketAddr::new(ip(24)?, port(body, 6)?);
    Some(Socket {
        protocol,
        local: Some(local.to_string()),
        remote: Some(remote.to_string()),
        state: crate::proc::tcp_state(byte(body, 1)?),
        uid: word(body, 64),
        inode: word(body, 68)?.into(),
        send_queue: word(body, 60)?.into(),
        receive_queue: word(body, 56)?.into(),
        interface: word(body, 40).filter(|index| *index != 0),
        addresses: Some((local, remote)),
        ..Socket::default()
    })
}

fn unix(body: &[u8]) -> Option<Socket> {
    let protocol = match byte(body, 1)? {
        1 => "unix stream",
        2 => "unix datagram",
        5 => "unix seqpacket",
        _ => "unix",
    };
    // A listener is in TCP_LISTEN, a connected one in TCP_ESTABLISHED.
    let mut socket = Socket {
        protocol,
        state: match byte(body, 2)? {
            1 => "CONNECTED",
            7 => "UNCONNECTED",
            state => crate::proc::tcp_state(state),
        },
        inode: word(body, 4)?.into(),
        ..Socket::default()
    };
    for (kind, value) in attributes(body, UNIX_FIXED) {
        match kind {
            0 => socket.path = Some(unix_name(value)),
            2 => socket.peer = word(value, 0).map(u64::from),
            3 => {
                let (inodes, _) = value.as_chunks::<4>();
                let inodes = inodes.iter().take(WAITING_MAX).map(|inode| u32::from_ne_bytes(*inode).into());
                socket.waiting = inodes.collect();
            }
            4 => {
                socket.receive_queue = word(value, 0)?.into();
                // Of a listener it is how many connections may wait.
                socket.send_queue = if socket.state == "LISTEN" { 0 } else { word(value, 4)?.into() };
            }
            7 => socket.uid = word(value, 0),
            _ => {}
        }
    }
    Some(socket)
}

/// A path, without the zeros after it; an abstract name begins with a zero, which is shown as `@`.
fn unix_name(value: &[u8]) -> Bytes {
    match value.split_first() {
        Some((0, name)) => Bytes([b"@", name].concat()),
        _ => Bytes::from(value.split(|&byte| byte == 0).next().unwrap_or_default()),
    }
}

fn packet(body: &[u8]) -> Option<Socket> {
    let protocol = match byte(body, 1)? {
        3 => "packet raw",
        2 => "packet datagram",
        _ => "packet",
    };
    let mut socket = Socket {
        protocol,
        // The EtherType it wants; 3 is all of them.
        local: Some(format!("ethertype {:#06x}", super::short(body, 2)?)),
        state: "UNCONNECTED",
        inode: word(body, 4)?.into(),
        ..Socket::default()
    };
    for (kind, value) in attributes(body, 16) {
        if kind == 0 {
            socket.interface = word(value, 0).filter(|index| *index != 0);
        }
    }
    Some(socket)
}

fn netlink(body: &[u8]) -> Option<Socket> {
    let families = [
        "route",
        "unused",
        "usersock",
        "firewall",
        "sock_diag",
        "nflog",
        "xfrm",
        "selinux",
        "iscsi",
        "audit",
        "fib_lookup",
        "connector",
        "netfilter",
        "ip6_fw",
        "dnrtmsg",
        "kobject_uevent",
        "generic",
    ];
    let number = byte(body, 2)?;
    let name =
        families.get(usize::from(number)).map_or_else(|| number.to_string(), |name| (*name).to_owned());
    Some(Socket {
        protocol: "netlink",
        local: Some(format!("{name} port {}", word(body, 4)?)),
        remote: Some(format!("port {} group {}", word(body, 8)?, word(body, 12)?)),
        state: if byte(body, 3)? == 1 { "CONNECTED" } else { "UNCONNECTED" },
        inode: word(body, 16)?.into(),
        ..Socket::default()
    })
}

fn vsock(body: &[u8]) -> Option<Socket> {
    let end = |at| Some(format!("{}:{}", word(body, at)?, word(body, at + 4)?));
    Some(Socket {
        protocol: "vsock",
        local: Some(end(4)?),
        remote: Some(end(12)?),
        state: crate::proc::tcp_state(byte(body, 2)?),
        inode: word(body, 20)?.into(),
        ..Socket::default()
    })
}

#[cfg(test)]
#[path = "diag_test.rs"]
mod tests;
