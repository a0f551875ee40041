//! The name in a question to a name server (RFC 1035, 4.1). Bytes in, values out; the datagram is its sender's to forge.

use crate::text::Bytes;

const HEADER: usize = 12;
/// A response says so in the highest bit of the flags.
const RESPONSE: u8 = 0x80;
/// The longest name (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;

/// The first name that is asked for, and the type of record; `None` for what is no question.
pub(super) fn question(datagram: &[u8]) -> Option<(Bytes, u16)> {
    let flags = datagram.get(2)?;
    let count = u16::from_be_bytes(*datagram.get(4..)?.first_chunk()?);
    if flags & RESPONSE != 0 || count == 0 {
        return None;
    }
    let mut rest = datagram.get(HEADER..)?;
    let mut name = Vec::new();
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            rest = after;
            break;
        }
        // A pointer has no business in a question.
        let (label, after) = after.split_at_checked(usize::from(length)).filter(|_| length < 64)?;
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
        if name.len() > NAME_MAX {
            return None;
        }
        rest = after;
    }
    if name.is_empty() {
        name.push(b'.');
    }
    Some((Bytes(name), u16::from_be_bytes(*rest.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(name: &[u8]) -> Vec<u8> {
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 28, 0, 1]].concat()
    }

    #[test]
    fn a_name_is_joined_of_its_labels_byte_for_byte() {
        let found = question(&asked(b"\x03www\x07ex\xffmple\x00"));
        assert_eq!(found, Some((Bytes::from(b"www.ex\xffmple"), 28)));
        assert_eq!(question(&asked(b"\x00")), Some((Bytes::from("."), 28)));
    }

    #[test]
    fn what_is_no_question_is_none() {
        let mut response = asked(b"\x01a\x00");
        response[2] |= RESPONSE;
        let mut none = asked(b"\x01a\x00");
        none[5] = 0;
        let pointer = asked(b"\xc0\x0c");
        let longest = asked(&[&[63; 64].repeat(5)[..], b"\x00"].concat());
        for datagram in [&response[..], &none, &pointer, &longest, b"", &asked(b"\x05abc"), &asked(b"")[..12]]
        {
            assert_eq!(question(datagram), None, "{datagram:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((name, _)) = question(&bytes) {
                prop_assert!(name.0.len() <= NAME_MAX);
            }
        }
    }
}
