//! Typed, bounded messages between our own processes, over sequenced-packet Unix sockets.
//!
//! A message is one JSON value of at most [`MESSAGE_MAX`] bytes and at most [`DESCRIPTORS_MAX`] descriptors. On the
//! wire it is one packet or several, because an unprivileged process cannot send large ones: the first byte of a
//! packet is 1 when more of the same message follows and 0 when it is the last, the rest is JSON. The descriptors
//! travel with the first packet.

mod channel;
mod listener;
pub mod message;

use std::io;

pub use channel::{Channel, Peer};
pub use listener::Listener;
pub use message::{CaptureState, Reply, Request, ToDoor, ToRecorder};

/// The longest message, as JSON.
pub const MESSAGE_MAX: usize = 1 << 20;
/// The most descriptors with one message.
pub const DESCRIPTORS_MAX: usize = 4;

/// Why a message did not pass. After anything but `WouldBlock` the channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Nothing there yet, or no room yet (the non-blocking calls, and those with a timeout).
    #[error("the other side is not ready")]
    WouldBlock,
    /// The other side took the beginning of a message and not the rest of it.
    #[error("the other side stopped reading in the middle of a message")]
    Stalled,
    /// Over [`MESSAGE_MAX`].
    #[error("a message of more than {MESSAGE_MAX} bytes")]
    TooLong,
    /// Over [`DESCRIPTORS_MAX`], or any where none may come.
    #[error("more descriptors than a message may carry")]
    TooManyDescriptors,
    /// The packet did not fit, or the other side went away in the middle of a message.
    #[error("a message that is cut off")]
    Truncated,
    /// Not the JSON that is expected.
    #[error("a message that is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

#[cfg(test)]
mod channel_test;
