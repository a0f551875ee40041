//! Messages and attributes (include/uapi/linux/netlink.h): a length, a type, a body, padded to four bytes.

use super::{array, short, word};

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// Bits of an attribute's type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `NLMSG_*` below 16, else the family's own.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// The end of a dump.
    pub const DONE: u16 = 3;
    /// A refusal, or a confirmation.
    pub const ERROR: u16 = 2;
    /// The set changed while it was dumped (`NLM_F_DUMP_INTR`).
    pub const INTERRUPTED: u16 = 0x10;

    /// The errno of a refusal (0 is a confirmation); of the end of a dump, how it went.
    pub fn errno(&self) -> i32 {
        array(self.body, 0).map_or(0, i32::from_ne_bytes)
    }
}

/// The messages of one datagram; what is left after a broken length is passed over.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

/// The messages in `bytes`.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages(bytes)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(word(self.0, 0)?).ok()?;
        let body = self.0.get(HEADER..length)?;
        let message = Message { kind: short(self.0, 4)?, flags: short(self.0, 6)?, body };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Attributes: type (without flags) and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

/// The attributes in `bytes`, from `at` on.
pub fn attributes(bytes: &[u8], at: usize) -> Attributes<'_> {
    Attributes(bytes.get(at..).unwrap_or_default())
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(short(self.0, 0)?);
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        let kind = short(self.0, 2)? & TYPE_MASK;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request for all there is of `kind`.
pub fn dump(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER.saturating_add(body.len()));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and port: one request a time, and the kernel knows the port
    bytes.extend(body);
    bytes
}

/// What the tests of netlink share.
#[cfg(test)]
pub(super) mod testing {
    /// An attribute as the kernel writes it.
    pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::attribute;
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = dump(kind, body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_follow_each_other_and_a_broken_length_ends_them() {
        let mut bytes = message(20, b"abc");
        bytes.extend(message(Message::ERROR, &(-2_i32).to_ne_bytes()));
        let all: Vec<Message<'_>> = messages(&bytes).collect();
        assert_eq!((all[0].kind, all[0].body), (20, &b"abc"[..]));
        assert_eq!((all[1].kind, all[1].errno()), (Message::ERROR, -2));
        assert_eq!(all.len(), 2);
        for length in [0_u32, 15, 1000, u32::MAX] {
            let mut broken = message(20, b"abcd");
            broken[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&broken).count(), 0, "{length}");
        }
        assert_eq!(messages(&bytes[..10]).count(), 0);
    }

    #[test]
    fn attributes_lose_their_flags_and_a_broken_length_ends_them() {
        let mut bytes = Vec::new();
        for (kind, value) in [(1_u16, &b"xyz"[..]), (0x8002, b"")] {
            bytes.extend(attribute(kind, value));
        }
        bytes.extend([3, 0, 9, 0]);
        let all: Vec<_> = attributes(&bytes, 0).collect();
        assert_eq!(all, [(1, &b"xyz"[..]), (2, b"")]);
        assert_eq!(attributes(&bytes, 100).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            for message in messages(&bytes) {
                message.errno();
                prop_assert!(attributes(message.body, 0).count() <= message.body.len());
            }
        }
    }
}
