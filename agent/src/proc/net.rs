//! `/proc/net/{tcp,udp,raw,...}` and `/proc/net/unix`: one socket per line. The path of a Unix socket is raw bytes, and
//! may hold newlines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::decimal;
use super::maps::hexadecimal;
use crate::text::Bytes;

/// One Internet socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetSocket {
    /// Our side.
    pub local: SocketAddr,
    /// The other side; unspecified where there is none.
    pub remote: SocketAddr,
    /// The kernel's number of the state (`TCP_ESTABLISHED` is 1).
    pub state: u8,
    /// Bytes not yet sent, or not yet acknowledged.
    pub send_queue: u64,
    /// Bytes not yet read; of a listener, connections not yet accepted.
    pub receive_queue: u64,
    /// Owner, as a number.
    pub uid: u32,
    /// Inode, the name of its descriptors; 0 when nobody holds it any more.
    pub inode: u64,
}

/// One Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// `SOCK_STREAM` is 1, `SOCK_DGRAM` 2, `SOCK_SEQPACKET` 5.
    pub kind: u16,
    /// The kernel's number of the state.
    pub state: u8,
    /// Inode.
    pub inode: u64,
    /// Path; an abstract name begins with `@`; empty for none.
    pub path: Bytes,
}

/// The sockets of a `tcp`, `tcp6`, `udp`, `udp6`, `udplite`, `raw` or `raw6` text; other lines are passed over.
pub fn inet_sockets(text: &[u8]) -> Vec<InetSocket> {
    text.split(|&byte| byte == b'\n').filter_map(inet_socket).collect()
}

/// The sockets of `unix`; other lines are passed over.
pub fn unix_sockets(text: &[u8]) -> Vec<UnixSocket> {
    text.split(|&byte| byte == b'\n').filter_map(unix_socket).collect()
}

/// The inode numbers of `packet`'s sockets; other lines are passed over.
pub fn packet_sockets(text: &[u8]) -> Vec<u64> {
    let inode = |line: &[u8]| {
        let fields: Vec<&[u8]> =
            line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).collect();
        // sk RefCnt Type Proto Iface R Rmem User Inode
        let [socket, _, _, _, _, _, _, _, inode] = *fields else { return None };
        hexadecimal(socket)?;
        decimal(inode)
    };
    text.split(|&byte| byte == b'\n').filter_map(inode).collect()
}

/// What the kernel calls a TCP state.
pub fn tcp_state(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "UNKNOWN",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or("UNKNOWN")
}

fn inet_socket(line: &[u8]) -> Option<InetSocket> {
    let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    fields.next()?.strip_suffix(b":")?;
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = hexadecimal(fields.next()?).and_then(|state| u8::try_from(state).ok())?;
    let (send_queue, receive_queue) = pair(fields.next()?)?;
    let uid = decimal(fields.nth(2)?)?; // after tr:tm->when and retrnsmt
    let inode = decimal(fields.nth(1)?)?; // after timeout
    Some(InetSocket { local, remote, state, send_queue, receive_queue, uid, inode })
}

fn unix_socket(line: &[u8]) -> Option<UnixSocket> {
    let mut fields = line.splitn(2, |&byte| byte == b':');
    hexadecimal(fields.next()?)?;
    let mut fields = fields.next()?.strip_prefix(b" ")?.splitn(7, |&byte| byte == b' ');
    let (kind, state) = (hexadecimal(fields.nth(3)?)?, hexadecimal(fields.next()?)?);
    // The inode is padded with spaces to five digits.
    let rest = fields.next().map(<[u8]>::to_vec).into_iter().chain(fields.next().map(<[u8]>::to_vec));
    let rest: Vec<u8> = rest.collect::<Vec<_>>().join(&b' ');
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let inode = decimal(rest.get(..digits)?)?;
    let path = rest.get(digits..)?.strip_prefix(b" ").unwrap_or_default();
    Some(UnixSocket {
        kind: u16::try_from(kind).ok()?,
        state: u8::try_from(state).ok()?,
        inode,
        path: Bytes::from(path),
    })
}

fn pair(field: &[u8]) -> Option<(u64, u64)> {
    let colon = field.iter().position(|&byte| byte == b':')?;
    Some((hexadecimal(field.get(..colon)?)?, hexadecimal(field.get(colon + 1..)?)?))
}

/// `0100007F:1F90`: the address as 32-bit words printed in the machine's own order, the port as a number.
fn address(field: &[u8]) -> Option<SocketAddr> {
    let colon = field.iter().position(|&byte| byte == b':')?;
    let port = u16::try_from(hexadecimal(field.get(colon + 1..)?)?).ok()?;
    let (words, []) = field.get(..colon)?.as_chunks::<8>() else { return None };
    let mut bytes = Vec::with_capacity(16);
    for word in words {
        bytes.extend(u32::try_from(hexadecimal(word)?).ok()?.to_ne_bytes());
    }
    let ip = match *bytes.as_slice() {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_families_are_read() {
        let text = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 0200000A:D431 01 0000000A:00000003 00:00000000 00000000  1000        0 12345 1 0\n\
            \x20  1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n";
        let all = inet_sockets(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(all[0].remote, "10.0.0.2:54321".parse().unwrap());
        assert_eq!((all[0].send_queue, all[0].receive_queue, all[0].uid, all[0].inode), (10, 3, 1000, 12345));
        assert_eq!(tcp_state(all[0].state), "ESTABLISHED");
        assert_eq!(all[1].local, "[::1]:80".parse().unwrap());
        assert_eq!(tcp_state(all[1].state), "LISTEN");
    }

    #[test]
    fn unix_sockets_with_strange_names_are_read() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0002 03    77\n\
            0000000000000000: 00000003 00000000 00000000 0005 03 78 @x\ny\n";
        let all = unix_sockets(text);
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].kind, all[0].inode, &all[0].path), (1, 12345, &Bytes::from("/run/a b")));
        assert_eq!((all[1].inode, all[1].path.is_empty()), (77, true));
        assert_eq!(all[2].path, Bytes::from("@x"));
    }

    #[test]
    fn packet_sockets_are_known_by_their_inodes() {
        let text = b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
            0000000000000000 3      3    0003   2     1 0      0      36712 \n00000000a1b2c3d4 3 2 88cc 0 1 0 101 77\n";
        assert_eq!(packet_sockets(text), [36712, 77]);
        for text in ["", "\n", "0 3 3 0003 2 1 0 0", "x 3 3 0003 2 1 0 0 5", "0 3 3 0003 2 1 0 0 -5"] {
            assert_eq!(packet_sockets(text.as_bytes()), Vec::<u64>::new(), "{text}");
        }
    }

    #[test]
    fn broken_lines_are_left_out() {
        for line in [
            "",
            ":",
            "0:",
            "0: 0:0 0:0",
            "0: 0100007F:1F90 0100007F 01 0:0",
            "0: 01:1 01:1 01 0:0 0:0 0 0 0 0",
        ] {
            assert_eq!(inet_sockets(line.as_bytes()), [], "{line}");
            assert_eq!(unix_sockets(line.as_bytes()), [], "{line}");
        }
        assert_eq!(tcp_state(255), "UNKNOWN");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_left_out(bytes: Vec<u8>) {
            inet_sockets(&bytes);
            unix_sockets(&bytes);
        }
    }
}
