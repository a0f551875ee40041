//! `/proc/PID/cmdline` and `/proc/PID/environ`: strings, each ended by a NUL.

use crate::text::Bytes;

/// Strings of a NUL-separated text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// In order; empty strings are kept.
    pub strings: Vec<Bytes>,
    /// Whether there were more than the bound allowed.
    pub cut: bool,
}

/// Splits `text` at its NULs into at most `most` strings. A text without any NUL is one string (a process that
/// rewrote its command line); an empty text, as of a kernel thread, is none.
pub fn nul_separated(text: &[u8], most: usize) -> Cut {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    if text.is_empty() {
        return Cut::default();
    }
    let mut parts = text.split(|&byte| byte == 0);
    let strings = parts.by_ref().take(most).map(Bytes::from).collect();
    Cut { strings, cut: parts.next().is_some() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_are_kept_as_they_are() {
        let all = |text: &[u8]| nul_separated(text, 99).strings;
        assert_eq!(all(b""), vec![]);
        assert_eq!(all(b"sh\0-c\0\0"), vec![Bytes::from("sh"), Bytes::from("-c"), Bytes::from("")]);
        assert_eq!(all(b"nginx: worker"), vec![Bytes::from("nginx: worker")]);
        assert_eq!(all(b"a\nb\xff\0"), vec![Bytes::from(b"a\nb\xff")]);
    }

    #[test]
    fn the_bound_holds_and_is_told() {
        let cut = nul_separated(b"a\0b\0c\0", 2);
        assert_eq!((cut.strings.len(), cut.cut), (2, true));
        assert!(!nul_separated(b"a\0b\0", 2).cut);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(strings in proptest::collection::vec("[^\0]+", 1..9)) {
            let text: Vec<u8> = strings.iter().flat_map(|string| string.bytes().chain([0])).collect();
            let back: Vec<Bytes> = strings.iter().map(Bytes::from).collect();
            prop_assert_eq!(nul_separated(&text, 9).strings, back);
        }
    }
}
