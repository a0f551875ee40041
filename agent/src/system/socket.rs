//! Descriptors that arrive over a Unix socket.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg};

/// The most descriptors the kernel puts into one message (`SCM_MAX_FD`).
const SCM_MAX_FD: usize = 253;

/// One packet as it arrived.
#[derive(Debug)]
pub struct Packet {
    /// Bytes in the buffer; 0 is the end of a sequenced-packet socket.
    pub bytes: usize,
    /// Whether the packet, or what descriptors came with it, did not fit.
    pub truncated: bool,
    /// The descriptors, close-on-exec; more than the caller wants are the caller's to close by dropping them.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives one packet. Without `descriptors` the kernel discards those that come (and `truncated` says so).
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: bool,
    flags: MsgFlags,
) -> Result<Packet, Errno> {
    // Room for all that can come: descriptors that do not fit would stay open without an owner.
    let mut room = if descriptors { nix::cmsg_space!([RawFd; SCM_MAX_FD]) } else { Vec::new() };
    let mut slices = [IoSliceMut::new(buffer)];
    let control = descriptors.then_some(room.as_mut_slice());
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, control, flags)?;
    let mut truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    let mut received = Vec::new();
    match message.cmsgs() {
        Ok(controls) => {
            for control in controls {
                if let ControlMessageOwned::ScmRights(numbers) = control {
                    received.extend(numbers.into_iter().map(adopt));
                }
            }
        }
        Err(_) => truncated = true,
    }
    Ok(Packet { bytes: message.bytes, truncated, descriptors: received })
}

/// Accepts one connection, close-on-exec.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC).map(adopt)
}

fn adopt(number: RawFd) -> OwnedFd {
    #[expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}
