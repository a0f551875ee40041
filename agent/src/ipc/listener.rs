//! The recorder's local socket.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

use super::Error;
use super::channel::{Channel, failed};
use crate::system::socket::accept;

/// Connections that may wait to be accepted.
const WAITING: i32 = 16;

/// A socket in the file system that only its owner may connect to (mode 0600 from its first moment).
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Listens at `path`, and takes the place of a socket that nobody listens at any more.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let step = "listen at the recorder's socket";
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| failed(step, errno))?;
        // The mode a socket has before it is bound is the mode of its file: never open for a moment.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| failed(step, errno))?;
        let address = UnixAddr::new(path).map_err(|errno| failed(step, errno))?;
        match bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => {
                if Channel::connect(path).is_ok() {
                    return Err(failed(
                        "listen at the recorder's socket: another recorder runs",
                        Errno::EADDRINUSE,
                    ));
                }
                std::fs::remove_file(path).map_err(|source| Error::Io { step, source })?;
                bind(socket.as_raw_fd(), &address)
            }
            other => other,
        }
        .and_then(|()| listen(&socket, Backlog::new(WAITING)?))
        .map_err(|errno| failed(step, errno))?;
        Ok(Self { socket })
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> Result<Channel, Error> {
        loop {
            match accept(self.socket.as_fd()) {
                Ok(socket) => return Ok(Channel::new(socket)),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(failed("accept a connection", errno)),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
