//! One end of a connection.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, sendmsg,
    setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DESCRIPTORS_MAX, Error, MESSAGE_MAX};
use crate::system::socket::receive;

/// Payload of one packet: small enough for the kernel's default send buffer to hold several.
const PACKET: usize = 32 * 1024;
const LAST: u8 = 0;
const MORE: u8 = 1;
/// How long a message that was begun may wait for room, in milliseconds.
const STALL_MS: u16 = 2_000;

/// One end of a connection. It may be shared by threads: a message is sent, or received, by one of them at a time.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    takes_descriptors: bool,
    sending: Mutex<()>,
    receiving: Mutex<Partial>,
}

/// Who is at the other end, as the kernel noted it when the connection was made (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its pid then; it may have been reused since.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// What has arrived of a message.
#[derive(Debug, Default)]
struct Partial {
    json: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// A connection over this socket, which must be a sequenced-packet Unix socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, takes_descriptors: true, sending: Mutex::default(), receiving: Mutex::default() }
    }

    /// The same, with descriptors refused: for a peer that has none to give (the kernel then discards them).
    #[must_use]
    pub fn without_descriptors(mut self) -> Self {
        self.takes_descriptors = false;
        self
    }

    /// Two ends that are connected to each other, close-on-exec.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failed("make a pair of sockets", errno))?;
        Ok((Self::new(one), Self::new(other)))
    }

    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let step = "connect to the recorder's socket";
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| failed(step, errno))?;
        let address = UnixAddr::new(path).map_err(|errno| failed(step, errno))?;
        connect(socket.as_raw_fd(), &address).map_err(|errno| failed(step, errno))?;
        Ok(Self::new(socket))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Result<Peer, Error> {
        let credentials = getsockopt(&self.socket, sockopt::PeerCredentials)
            .map_err(|errno| failed("ask who is at the other end", errno))?;
        Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
    }

    /// How long `send` and `recv` wait before they give [`Error::WouldBlock`]; without it they wait for ever.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let value = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &value)
            .and_then(|()| setsockopt(&self.socket, sockopt::SendTimeout, &value))
            .map_err(|errno| failed("set a timeout", errno))
    }

    /// Makes room for about `bytes` of messages that the other side has not taken yet; needs `CAP_NET_ADMIN`.
    pub fn widen(&self, bytes: usize) -> Result<(), Error> {
        setsockopt(&self.socket, sockopt::SndBufForce, &bytes)
            .map_err(|errno| failed("widen a channel", errno))
    }

    /// Sends one message with descriptors, and waits for room.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.dispatch(message, descriptors, MsgFlags::empty())
    }

    /// Sends one message if there is room for its beginning now; a peer that does not take the rest of a long one
    /// within two seconds is given up ([`Error::Stalled`]).
    pub fn try_send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.dispatch(message, descriptors, MsgFlags::MSG_DONTWAIT)
    }

    /// Waits for the next message; `None` when the other side has closed.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, Error> {
        self.collect(MsgFlags::empty())
    }

    /// The next message if all of it is there; what has come of an unfinished one is kept for the next call.
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, Error> {
        self.collect(MsgFlags::MSG_DONTWAIT)
    }

    /// Closes both directions, for all who hold a copy of this end: whoever waits in `recv` gets the end.
    pub fn shut_down(&self) {
        // The only failure is a socket that is no longer connected: shut down already.
        nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap_or(());
    }

    fn dispatch(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        flags: MsgFlags,
    ) -> Result<(), Error> {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(Error::TooManyDescriptors);
        }
        let json = serde_json::to_vec(message)?;
        if json.len() > MESSAGE_MAX {
            return Err(Error::TooLong);
        }
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let _one_message_at_a_time = lock(&self.sending);
        let mut chunks = json.chunks(PACKET).peekable();
        let mut first = true;
        while let Some(chunk) = chunks.next() {
            let marker = if chunks.peek().is_some() { MORE } else { LAST };
            let rights = [ControlMessage::ScmRights(&numbers)];
            let rights = if first && !numbers.is_empty() { &rights[..] } else { &[] };
            loop {
                match self.packet(marker, chunk, rights, flags) {
                    Ok(()) => break,
                    Err(Error::WouldBlock) if first => return Err(Error::WouldBlock),
                    Err(Error::WouldBlock) if flags.is_empty() => return Err(Error::Stalled),
                    Err(Error::WouldBlock) => self.wait_for_room()?,
                    Err(other) => return Err(other),
                }
            }
            first = false;
        }
        Ok(())
    }

    fn packet(
        &self,
        marker: u8,
        chunk: &[u8],
        rights: &[ControlMessage<'_>],
        flags: MsgFlags,
    ) -> Result<(), Error> {
        let marker = [marker];
        let slices = [IoSlice::new(&marker), IoSlice::new(chunk)];
        loop {
            match sendmsg::<()>(
                self.socket.as_raw_fd(),
                &slices,
                rights,
                flags | MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Error::WouldBlock),
                Err(errno) => return Err(failed("send a message", errno)),
            }
        }
    }

    fn wait_for_room(&self) -> Result<(), Error> {
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut sockets, PollTimeout::from(STALL_MS)) {
            Ok(0) => Err(Error::Stalled),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(failed("wait for room to send", errno)),
        }
    }

    fn collect<T: DeserializeOwned>(&self, flags: MsgFlags) -> Result<Option<(T, Vec<OwnedFd>)>, Error> {
        let mut partial = lock(&self.receiving);
        let mut buffer = vec![0; PACKET + 1];
        loop {
            let packet = match receive(self.as_fd(), &mut buffer, self.takes_descriptors, flags) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(Error::WouldBlock),
                // It closed before it had read everything: for us the end all the same.
                Err(Errno::ECONNRESET) => return partial.end(),
                Err(errno) => return Err(failed("receive a message", errno)),
                Ok(packet) => packet,
            };
            let Some((marker, chunk)) = buffer.get(..packet.bytes).and_then(<[u8]>::split_first) else {
                return partial.end();
            };
            if packet.truncated || (*marker != LAST && *marker != MORE) {
                return Err(Error::Truncated);
            }
            if partial.json.len().saturating_add(chunk.len()) > MESSAGE_MAX {
                return Err(Error::TooLong);
            }
            partial.json.extend_from_slice(chunk);
            partial.descriptors.extend(packet.descriptors);
            if partial.descriptors.len() > DESCRIPTORS_MAX {
                return Err(Error::TooManyDescriptors);
            }
            if *marker == LAST {
                let whole = std::mem::take(&mut *partial);
                return Ok(Some((serde_json::from_slice(&whole.json)?, whole.descriptors)));
            }
        }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.socket
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Partial {
    fn end<T>(&self) -> Result<Option<T>, Error> {
        if self.json.is_empty() { Ok(None) } else { Err(Error::Truncated) }
    }
}

pub(super) fn failed(step: &'static str, errno: Errno) -> Error {
    Error::Io { step, source: errno.into() }
}

/// A thread that panicked while it held the lock left a broken message at worst, which the reader then refuses.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
