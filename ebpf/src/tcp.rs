//! TCP: who asks for a connection, who listens, who accepts.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Flow, Header, config, kind};
use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};

use crate::read::{Address, Place, Typed, read_at, setting};
use crate::{map, task};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
/// States of include/net/tcp_states.h.
const SYN_SENT: i32 = 2;
const LISTEN: i32 = 10;

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

/// `sys_exit(regs, ret)`: the return of accept, where the kernel lets us see it in no cheaper way.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn accept(context: BtfTracePointContext) -> i32 {
    let returned: i64 = context.arg(1);
    if returned >= 0 {
        let call: u64 = Typed::argument(&context, 0).read(Field::RegsSyscall);
        if call == setting(config::SYS_ACCEPT) as u64 || call == setting(config::SYS_ACCEPT4) as u64 {
            record(kind::ACCEPT, socket(returned as u64));
        }
    }
    0
}

#[inline(always)]
fn record(kind: u32, sock: impl Place) -> Option<()> {
    if sock.read::<u16>(Field::SockProtocol) != IPPROTO_TCP {
        return None;
    }
    let process = task::process(task::current())?;
    let body = flow(sock)?;
    let record = Record { header: map::header(kind, process)?, body };
    map::submit(kind, (&raw const record).cast(), size_of::<Record>() as u64, false);
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

/// The sock behind descriptor `number` of the current process; 0 when there is none.
#[inline(always)]
fn socket(descriptor: u64) -> Address {
    let table = task::current().follow(Field::TaskFiles).follow(Field::FilesTable);
    if descriptor >= table.read::<u32>(Field::TableMost) as u64 {
        return 0;
    }
    let file: Address = read_at(table.follow(Field::TableFiles).wrapping_add(descriptor * 8));
    file.follow(Field::FilePrivate).follow(Field::SocketSock)
}
