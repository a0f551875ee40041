//! A record of the ring, as an event. Bytes in, values out; a record that is too short or of no known kind is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use afterimage_ebpf::{NONE, call, flag, kind};
use jiff::Timestamp;

use super::dns;
use crate::event::call::{Call, Closed, Question, What};
use crate::event::{Action, BootId, Event, Exit, Flow, Fork, Hold, Image, Namespaces, ProcessId, Source};
use crate::proc::nul_separated;
use crate::text::Bytes;

/// A clock tick in nanoseconds: `USER_HZ` is 100 on every architecture we run on.
pub(super) const TICK: u64 = 10_000_000;
/// More arguments than bytes are not possible.
const MOST_ARGS: usize = afterimage_ebpf::ARGS_BYTES;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What a record's numbers mean on this host now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// This boot.
    pub(super) boot: BootId,
    /// Wall clock minus boot-time clock, in ns.
    pub(super) offset: i128,
}

/// The event in `record`; `None` when it is not one.
pub(super) fn decode(record: &[u8], frame: Frame) -> Option<Event> {
    let mut rest = Rest(record);
    let kind = rest.u32()?;
    let cpu = rest.u32()?;
    let seq = rest.u64()?;
    let time = rest.u64()?;
    let process = rest.process(frame.boot)??;
    let action = match kind {
        kind::EXEC => Action::Exec(Box::new(image(&mut rest, frame.boot)?)),
        kind::FORK => Action::Fork(Fork { parent: rest.process(frame.boot)?, name: rest.name()? }),
        kind::EXIT => Action::Exit(exit(rest.u32()?)),
        kind::CONNECT => Action::Connect(flow(&mut rest)?),
        kind::ACCEPT => Action::Accept(flow(&mut rest)?),
        kind::LISTEN => Action::Listen(flow(&mut rest)?),
        kind::DATAGRAM => Action::Datagram(flow(&mut rest)?),
        kind::CLOSE => {
            Action::Close(Closed { flow: flow(&mut rest)?, sent: rest.u64()?, received: rest.u64()? })
        }
        kind::QUESTION => Action::Question(question(&mut rest)?),
        kind::CALL => Action::Call(Box::new(asked(&mut rest)?)),
        _ => return None,
    };
    let time = Timestamp::from_nanosecond(i128::from(time).checked_add(frame.offset)?).ok()?;
    Some(Event { time, source: Source::Probe { cpu, seq }, process, action })
}

fn exit(status: u32) -> Exit {
    let [low, code, ..] = status.to_le_bytes();
    let signal = low & 0x7f;
    Exit { code: if signal == 0 { code } else { 0 }, signal }
}

fn flow(rest: &mut Rest<'_>) -> Option<Flow> {
    let family = rest.u16()?;
    let (local_port, remote_port) = (rest.port()?, rest.port()?);
    rest.u16()?;
    let (local, remote) = (rest.address(family)?, rest.address(family)?);
    Some(Flow { local: SocketAddr::new(local, local_port), remote: SocketAddr::new(remote, remote_port) })
}

fn question(rest: &mut Rest<'_>) -> Option<Question> {
    let flow = flow(rest)?;
    let length = usize::try_from(rest.u32()?).ok()?;
    rest.u32()?;
    let (name, kind) = dns::question(rest.take(length)?).unwrap_or_default();
    Some(Question { flow, name, kind })
}

fn asked(rest: &mut Rest<'_>) -> Option<Call> {
    let number = rest.u32()?;
    let compat = rest.u32()? != 0;
    let numbers = [rest.u64()?, rest.u64()?];
    let _uid = rest.u32()?;
    let lengths: [u16; 4] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?];
    let elsewhere = rest.u32()?;
    let [text, names, target, _] = lengths.map(|length| rest.take(usize::from(length)));
    let (text, names) = (text?, names?);
    let file = if names.is_empty() { begun(text, elsewhere & 1 != 0) } else { path(names, false) };
    let [first, second] = numbers;
    let (what, number) = match u8::try_from(number).ok()? {
        call::MEMFD => (What::Memfd, None),
        call::PTRACE => (What::Ptrace, Some(second)),
        call::WRITE_MEMORY => (What::WriteMemory, Some(first)),
        call::LOAD_PROGRAM => (What::LoadProgram, Some(second)),
        call::LOAD_MODULE => (What::LoadModule, None),
        call::MOUNT => (What::Mount, Some(first)),
        call::MOVE_MOUNT | call::PIVOT_ROOT => (What::Mount, None),
        call::UNMOUNT => (What::Unmount, Some(first)),
        call::UNSHARE | call::SETNS => (What::Namespace, Some(first)),
        call::BECOME => (What::BecomeRoot, None),
        call::CHMOD | call::FCHMOD | call::FCHMODAT => (What::Chmod, Some(first)),
        call::RENAME | call::RENAMEAT => (What::Rename, None),
        call::UNLINK | call::UNLINKAT => (What::Unlink, None),
        call::IO_URING => (What::IoUring, Some(first)),
        _ => return None,
    };
    Some(Call { what, path: file, target: begun(target?, elsewhere & 2 != 0), number, compat })
}

/// A path as asked for. One that starts from a folder that is not known begins with `...` instead of a slash.
fn begun(text: &[u8], elsewhere: bool) -> Bytes {
    if !elsewhere || text.is_empty() || text.starts_with(b"/") {
        return Bytes::from(text);
    }
    Bytes([b".../", text].concat())
}

fn image(rest: &mut Rest<'_>, boot: BootId) -> Option<Image> {
    let parent = rest.process(boot)?;
    let inode = rest.u64()?;
    let cgroup_id = rest.u64()?;
    let changed = i64::from_ne_bytes(rest.array()?);
    let [changed_ns, device, links] = rest.words()?;
    let [uid, real_uid, gid, login_uid] = rest.words()?;
    let [pid, mnt, net, user, flags] = rest.words()?;
    let lengths: [u16; 5] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?];
    rest.take(6)?;
    let name = rest.name()?;
    let [filename, args, executable, directory, cgroup] =
        lengths.map(|length| rest.take(usize::from(length)));
    let has = |bit| flags & bit != 0;
    let told = has(flag::CGROUP_TOLD);
    let executable = path(executable?, has(flag::EXECUTABLE_CUT));
    Some(Image {
        parent,
        name,
        executable,
        filename: Bytes::from(filename?),
        args: nul_separated(args?, MOST_ARGS).strings,
        args_cut: has(flag::ARGS_CUT),
        working_directory: path(directory?, has(flag::DIRECTORY_CUT)),
        inode,
        device,
        changed: (changed_ns != NONE)
            .then(|| Timestamp::new(changed, changed_ns.try_into().ok()?).ok())
            .flatten(),
        links: (links != NONE).then_some(links),
        uid,
        real_uid: (real_uid != NONE && real_uid != uid).then_some(real_uid),
        gid,
        login_uid: (login_uid != NONE).then_some(login_uid),
        cgroup: if told { Bytes::default() } else { path(cgroup?, has(flag::CGROUP_CUT)) },
        cgroup_id: (cgroup_id != 0).then_some(cgroup_id),
        sha256: None,
        size: None,
        hold: if has(flag::HELD) {
            Some(Hold::Stopped)
        } else {
            has(flag::NOT_HELD).then_some(Hold::Refused)
        },
        namespaces: Namespaces { pid, mnt, net, user },
    })
}

/// A path from its names, leaf first. One whose upper end is missing begins with `...` instead of a slash; one of
/// which nothing was read is empty.
fn path(names: &[u8], cut: bool) -> Bytes {
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    let mut path = if cut && !names.is_empty() { b"...".to_vec() } else { Vec::new() };
    for name in names.rsplit(|&byte| byte == 0).filter(|name| !name.is_empty() && name != b"/") {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() && !cut {
        path.push(b'/');
    }
    Bytes(path)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn words<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.u32()?;
        }
        Some(words)
    }

    fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The inner `None`: a process outside the namespace.
    #[expect(clippy::option_option, reason = "a record that is cut is not the same as no process")]
    fn process(&mut self, boot: BootId) -> Option<Option<ProcessId>> {
        let (start, pid) = (self.u64()?, self.u32()?);
        self.u32()?;
        Some((pid != 0).then_some(ProcessId { boot, pid, start: start / TICK }))
    }

    fn name(&mut self) -> Option<Bytes> {
        let name: [u8; afterimage_ebpf::NAME_BYTES] = self.array()?;
        name.split(|&byte| byte == 0).next().map(Bytes::from)
    }

    fn address(&mut self, family: u16) -> Option<IpAddr> {
        let bytes: [u8; 16] = self.array()?;
        match family {
            AF_INET => bytes.first_chunk::<4>().map(|four| IpAddr::V4(Ipv4Addr::from(*four))),
            AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
