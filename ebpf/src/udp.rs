//! UDP: the first datagram of a process to a peer.
//!
//! A datagram needs a route, and the kernel looks it up in the context of whoever sends or connects, with its own copy
//! of the addresses. A connected socket keeps its route, so this costs nothing per datagram there.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Flow, Process, kind};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Place, Typed};
use crate::tcp::{Record, bytes};
use crate::{map, task};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_UDP: u8 = 17;
/// The interface of what this host itself sends (`LOOPBACK_IFINDEX`).
const OUTPUT: u32 = 1;
const BPF_NOEXIST: u64 = 1;
const EEXIST: i32 = 17;

#[derive(Clone, Copy)]
#[repr(C)]
struct Peer {
    process: Process,
    remote: [u8; 16],
    port: u16,
    family: u16,
    zero: u32,
}

/// Peers already told; the oldest is forgotten, and would be told again.
#[map]
static PEERS: LruHashMap<Peer, u8> = LruHashMap::with_max_entries(8192, 0);

/// `fib_table_lookup(table, flow, ...)`.
#[btf_tracepoint(function = "fib_table_lookup")]
pub(crate) fn udp4(context: BtfTracePointContext) -> i32 {
    record4(Typed::argument(&context, 1));
    0
}

/// `fib6_table_lookup(net, result, table, flow)`.
#[btf_tracepoint(function = "fib6_table_lookup")]
pub(crate) fn udp6(context: BtfTracePointContext) -> i32 {
    record6(Typed::argument(&context, 3));
    0
}

#[inline(always)]
fn record4(flow: Typed) -> Option<()> {
    if flow.read::<u8>(Field::Flow4Protocol) != IPPROTO_UDP || flow.read::<u32>(Field::Flow4Iif) != OUTPUT {
        return None;
    }
    let (mut local, mut remote) = ([0; 16], [0; 16]);
    local[..4].copy_from_slice(&flow.read::<u32>(Field::Flow4Local).to_ne_bytes());
    remote[..4].copy_from_slice(&flow.read::<u32>(Field::Flow4Remote).to_ne_bytes());
    let local_port = flow.read(Field::Flow4LocalPort);
    let remote_port = flow.read(Field::Flow4RemotePort);
    record(Flow { family: AF_INET, local_port, remote_port, zero: 0, local, remote })
}

#[inline(always)]
fn record6(flow: Typed) -> Option<()> {
    if flow.read::<u8>(Field::Flow6Protocol) != IPPROTO_UDP || flow.read::<u32>(Field::Flow6Iif) != OUTPUT {
        return None;
    }
    let (local, remote) = (bytes(flow.read(Field::Flow6Local)), bytes(flow.read(Field::Flow6Remote)));
    let local_port = flow.read(Field::Flow6LocalPort);
    let remote_port = flow.read(Field::Flow6RemotePort);
    record(Flow { family: AF_INET6, local_port, remote_port, zero: 0, local, remote })
}

#[inline(always)]
fn record(body: Flow) -> Option<()> {
    if body.remote_port == 0 {
        return None;
    }
    let process = task::process(task::current())?;
    let told =
        |remote, port| PEERS.get_ptr(Peer { process, remote, port, family: body.family, zero: 0 }).is_some();
    if told(body.remote, body.remote_port) {
        return None;
    }
    // That a port is closed, this host answers in the context of the process that sent: not its doing. Only where the
    // peer is this host, or whoever sent one datagram to itself could talk to anybody unseen from there.
    if body.is_local() && told(body.local, body.local_port) {
        return None;
    }
    let peer = Peer { process, remote: body.remote, port: body.remote_port, family: body.family, zero: 0 };
    // Another thread of the process was first; any other failure leaves a peer that may be told twice.
    if PEERS.insert(&peer, &1, BPF_NOEXIST) == Err(-EEXIST) {
        return None;
    }
    let record = Record { header: map::header(kind::DATAGRAM, process)?, body };
    map::submit(kind::DATAGRAM, (&raw const record).cast(), size_of::<Record>() as u64, false);
    Some(())
}
