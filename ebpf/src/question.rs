//! Questions to name servers: what is sent to UDP port 53, as the kernel hands it to a device.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{Flow, QUESTION_BYTES, Question, kind};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::read::{Address, Place, Typed, read_at};
use crate::{exec, map, task};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Protocols of a frame, in network order.
const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();
const IPPROTO_UDP: u8 = 17;
const DOMAIN: u16 = 53_u16.to_be();
const UDP_HEADER: u64 = 8;

/// `net_dev_queue(skb)`: in the context of whoever sends, as far as that is not put off.
#[btf_tracepoint(function = "net_dev_queue")]
pub(crate) fn question(context: BtfTracePointContext) -> i32 {
    record(Typed::argument(&context, 0));
    0
}

#[inline(always)]
fn record(skb: Typed) -> Option<()> {
    let protocol: u16 = skb.read(Field::SkbProtocol);
    let head = skb.follow(Field::SkbHead).address();
    let network = head.wrapping_add(skb.read::<u16>(Field::SkbNetwork) as u64);
    let is_udp = match protocol {
        ETH_P_IP => read_at::<u8>(network.wrapping_add(9)) == IPPROTO_UDP,
        // A question behind extension headers is not seen.
        ETH_P_IPV6 => read_at::<u8>(network.wrapping_add(6)) == IPPROTO_UDP,
        _ => false,
    };
    if !is_udp {
        return None;
    }
    let transport = head.wrapping_add(skb.read::<u16>(Field::SkbTransport) as u64);
    let [local_port, remote_port, length, _] = read_at::<[u16; 4]>(transport);
    if remote_port != DOMAIN {
        return None;
    }
    // Somebody else's packet that this host passes on has no socket here.
    if skb.follow(Field::SkbSock).address() == 0 {
        return None;
    }
    let flow = flow(protocol, network, local_port, remote_port);
    let process = task::process(task::current())?;
    let header = map::header(kind::QUESTION, process)?;
    let payload = (u16::from_be(length) as u64).saturating_sub(UDP_HEADER);
    let length = if payload > QUESTION_BYTES as u64 { QUESTION_BYTES as u64 } else { payload };
    exec::with_draft(kind::QUESTION, header.time, |draft| {
        draft.begin_with::<Question>();
        let length = draft.measured(|draft| {
            draft.memory(length, transport.wrapping_add(UDP_HEADER));
        });
        draft.finish(header, Question { flow, length: length as u32, zero: 0 });
    })
}

#[inline(always)]
fn flow(protocol: u16, network: Address, local_port: u16, remote_port: u16) -> Flow {
    let (mut local, mut remote) = ([0; 16], [0; 16]);
    if protocol == ETH_P_IP {
        local[..4].copy_from_slice(&read_at::<u32>(network.wrapping_add(12)).to_ne_bytes());
        remote[..4].copy_from_slice(&read_at::<u32>(network.wrapping_add(16)).to_ne_bytes());
        return Flow { family: AF_INET, local_port, remote_port, zero: 0, local, remote };
    }
    local.copy_from_slice(&read_at::<[u8; 16]>(network.wrapping_add(8)));
    remote.copy_from_slice(&read_at::<[u8; 16]>(network.wrapping_add(24)));
    Flow { family: AF_INET6, local_port, remote_port, zero: 0, local, remote }
}
