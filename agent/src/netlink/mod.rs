//! Netlink, as bytes: requests to the kernel, and what it answers. Pure; the sockets are opened by a collection.

pub mod diag;
mod message;
pub mod nftables;
pub mod route;

pub use message::{Attributes, Message, Messages, attributes, dump, messages};

/// `AF_INET` and the other families that are asked for (include/linux/socket.h).
pub(crate) mod family {
    pub(crate) const UNIX: u8 = 1;
    pub(crate) const INET: u8 = 2;
    pub(crate) const INET6: u8 = 10;
    pub(crate) const NETLINK: u8 = 16;
    pub(crate) const PACKET: u8 = 17;
    pub(crate) const VSOCK: u8 = 40;
}

/// The first `N` bytes at `at`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// A 16-bit number in the machine's order.
fn short(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// A 16-bit number in network order.
fn port(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// A 32-bit number in the machine's order.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}
