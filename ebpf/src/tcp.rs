//! TCP: who asks for a connection, who listens, who accepts.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Closed, Flow, Header, Process, kind};
use aya_ebpf::macros::{btf_tracepoint, fexit, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};

use crate::read::{Address, Place, Typed};
use crate::{map, task};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
/// States of include/net/tcp_states.h.
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;

/// Whose a connection is, by its socket's address. What does not fit is counted as lost ends.
#[map]
static SOCKETS: HashMap<u64, Process> = HashMap::with_max_entries(32_768, 0);

#[repr(C)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) body: Flow,
}

/// `inet_sock_set_state(sock, old, new)`. Only SYN_SENT and LISTEN are reached in the context of the process itself;
/// at SYN_SENT the peer is known, the local port often not yet.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tcp(context: BtfTracePointContext) -> i32 {
    let kind = match context.arg::<i32>(2) {
        SYN_SENT => kind::CONNECT,
        LISTEN => kind::LISTEN,
        CLOSE => {
            closed(Typed::argument(&context, 0));
            return 0;
        }
        _ => return 0,
    };
    record(kind, Typed::argument(&context, 0));
    0
}

/// `inet_csk_accept(sock, argument)`, returning the new sock: since 6.10.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted2(context: FExitContext) -> i32 {
    record(kind::ACCEPT, context.arg::<Address>(2));
    0
}

/// `inet_csk_accept(sock, flags, error, kern)`, returning the new sock: before 6.10.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted4(context: FExitContext) -> i32 {
    record(kind::ACCEPT, context.arg::<Address>(4));
    0
}

#[inline(always)]
pub(crate) fn record(kind: u32, sock: impl Place) -> Option<()> {
    if sock.read::<u16>(Field::SockProtocol) != IPPROTO_TCP {
        return None;
    }
    let process = task::process(task::current())?;
    let body = flow(sock)?;
    let record = Record { header: map::header(kind, process)?, body };
    map::submit(kind, (&raw const record).cast(), size_of::<Record>() as u64, false);
    if kind != kind::LISTEN && SOCKETS.insert(&sock.address(), &process, 0).is_err() {
        map::count(kind::CLOSE, |count| {
            count.attempted += 1;
            count.nested += 1;
        });
    }
    Some(())
}

#[repr(C)]
struct End {
    header: Header,
    body: Closed,
}

/// Reached in whatever context: whose it is was noted at its beginning.
#[inline(always)]
fn closed(sock: Typed) -> Option<()> {
    let process = SOCKETS.get_ptr(sock.address())?;
    // SAFETY: a map value, read once.
    let process = unsafe { core::ptr::read_volatile(process) };
    let _there_is_one = SOCKETS.remove(sock.address());
    // The verifier knows the argument as a plain socket: its larger self is read by the helper.
    let whole = sock.address();
    let body = Closed {
        // The number under which it was bound is already given back.
        flow: Flow { local_port: whole.read(Field::SockPort), ..flow(sock)? },
        sent: whole.read::<u64>(Field::SockBytesSent).wrapping_sub(whole.read(Field::SockBytesAgain)),
        received: whole.read(Field::SockBytesGot),
    };
    let record = End { header: map::header(kind::CLOSE, process)?, body };
    map::submit(kind::CLOSE, (&raw const record).cast(), size_of::<End>() as u64, false);
    Some(())
}

#[inline(always)]
fn flow(sock: impl Place) -> Option<Flow> {
    let family: u16 = sock.read(Field::SockFamily);
    let (mut local, mut remote) = ([0; 16], [0; 16]);
    if family == AF_INET {
        local[..4].copy_from_slice(&sock.read::<u32>(Field::SockLocal4).to_ne_bytes());
        remote[..4].copy_from_slice(&sock.read::<u32>(Field::SockRemote4).to_ne_bytes());
    } else if family == AF_INET6 {
        local = bytes(sock.read(Field::SockLocal6));
        remote = bytes(sock.read(Field::SockRemote6));
    } else {
        return None;
    }
    let local_port = sock.read::<u16>(Field::SockLocalPort).to_be();
    Some(Flow { family, local_port, remote_port: sock.read(Field::SockRemotePort), zero: 0, local, remote })
}

/// An address of IPv6, read as two words.
#[inline(always)]
pub(crate) fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_ne_bytes());
    bytes[8..].copy_from_slice(&low.to_ne_bytes());
    bytes
}
