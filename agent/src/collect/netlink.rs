//! Asks the kernel by netlink, in the network namespace of whoever is looked at.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::attempts::{Miss, read_bounded};
use crate::netlink::{Message, messages};

/// The kernel fills at most 32 KiB of a datagram.
const DATAGRAM: usize = 64 << 10;
/// The kernel answers at once; a lock of its own that somebody holds is the only thing to wait for.
const PATIENCE_S: i64 = 2;

/// `/proc/modules` of a kernel with thousands of them.
const MODULES_MAX: u64 = 4 << 20;

/// The kernel's netlink doors of one network namespace. A socket stays in the namespace in which it was made.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) diag: OwnedFd,
    pub(super) route: OwnedFd,
    /// Not every kernel has a packet filter; why there is none, in words.
    pub(super) filter: Result<OwnedFd, String>,
}

/// What a dump gave.
pub(super) struct Dump {
    /// The datagrams, as they came.
    pub(super) bytes: Vec<u8>,
    /// What is missing.
    pub(super) lack: Option<Miss>,
}

/// Opens the doors in `namespace`: a thread of its own enters it, and ends.
pub(super) fn doors(namespace: OwnedFd) -> io::Result<Doors> {
    let enter = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        here()
    };
    let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn(enter)?;
    thread.join().map_err(|_| io::Error::other("the thread that entered the namespace has died"))?
}

/// The doors of our own namespace.
pub(super) fn here() -> io::Result<Doors> {
    let open = |protocol| -> io::Result<OwnedFd> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))?;
        Ok(socket)
    };
    Ok(Doors {
        diag: open(SockProtocol::NetlinkSockDiag)?,
        route: open(SockProtocol::NetlinkRoute)?,
        filter: if has_filter() {
            open(SockProtocol::NetlinkNetFilter).map_err(|error| error.to_string())
        } else {
            Err("nf_tables is not loaded, and asking would load it".to_owned())
        },
    })
}

/// Whether the kernel has nf_tables already: to ask for its rules would load the module. A kernel without any module has
/// what it has.
#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn has_filter() -> bool {
    let Ok(file) = std::fs::File::open("/proc/modules") else { return true };
    let (text, _) = read_bounded(file, MODULES_MAX).unwrap_or_default();
    text.is_empty() || text.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"nf_tables "))
}

/// Asks for a dump, of which at most `most` bytes are taken.
pub(super) fn dump(door: impl AsFd, request: &[u8], most: usize, deadline: Instant) -> Result<Dump, Miss> {
    let door = door.as_fd().as_raw_fd();
    let failed = |step: &'static str| move |errno: Errno| Miss::at(step, &errno.into());
    send(door, request, MsgFlags::empty()).map_err(failed("ask the kernel"))?;
    let (mut bytes, mut lack) = (Vec::new(), None);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if Instant::now() >= deadline {
            return Err(Miss::new(crate::bundle::Outcome::TimedOut, "the capture's deadline passed"));
        }
        let count = recv(door, &mut buffer, MsgFlags::empty()).map_err(failed("hear the kernel"))?;
        let datagram = buffer.get(..count).unwrap_or_default();
        if bytes.len().saturating_add(count) <= most {
            bytes.extend_from_slice(datagram);
        } else {
            lack = Some(Miss::partial(format!("cut at {most} bytes")));
        }
        let mut ended = count == 0;
        for message in messages(datagram) {
            if message.flags & Message::INTERRUPTED != 0 {
                lack.get_or_insert_with(|| Miss::partial("it changed while the kernel listed it"));
            }
            match message.kind {
                Message::ERROR if message.errno() != 0 => return Err(refused(message.errno())),
                Message::DONE if message.errno() < 0 => return Err(refused(message.errno())),
                Message::ERROR | Message::DONE => ended = true,
                _ => {}
            }
        }
        if ended {
            return Ok(Dump { bytes, lack });
        }
    }
}

/// A family that the kernel does not list in this way, or has not at all, answers ENOENT or EINVAL.
fn refused(code: i32) -> Miss {
    let errno = Errno::from_raw(code.saturating_neg());
    let words = match errno {
        Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP => "this kernel does not list them in this way: ",
        _ => "",
    };
    Miss::refused(format!("{words}{errno}"))
}
