//! Files of authorized keys (sshd(8)): which keys, by their fingerprints.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::rows;
use crate::text::Bytes;

/// Bytes of a line; the longest real keys have some 3,000.
const LINE_MAX: usize = 64 << 10;

/// One key that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) line: usize,
    pub(crate) options: Bytes,
    pub(crate) kind: Bytes,
    /// As `ssh-keygen -l` says it.
    pub(crate) fingerprint: String,
    pub(crate) comment: Bytes,
}

/// The keys of a file; what is none is left out.
pub(crate) fn keys(text: &[u8]) -> Vec<Key> {
    rows(text).filter_map(|(number, line)| key(number, line)).collect()
}

fn key(number: usize, line: &[u8]) -> Option<Key> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") || line.len() > LINE_MAX {
        return None;
    }
    let (options, rest) = match word(line) {
        (first, rest) if is_kind(first) && fingerprint(first, word(rest).0).is_some() => (&b""[..], line),
        _ => after_options(line)?,
    };
    let (kind, rest) = word(rest);
    let (blob, comment) = word(rest);
    let fingerprint = fingerprint(kind, blob)?;
    let [options, kind, comment] = [options, kind, comment].map(Bytes::from);
    Some(Key { line: number, options, kind, fingerprint, comment })
}

fn is_kind(word: &[u8]) -> bool {
    [&b"ssh-"[..], b"ecdsa-", b"sk-"].iter().any(|start| word.starts_with(start))
}

/// The options, and what follows the first blank outside of quotes.
fn after_options(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.iter().position(|&byte| {
        if byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = byte == b'\\' && !escaped;
        byte.is_ascii_whitespace() && !quoted
    })?;
    let (options, rest) = line.split_at_checked(end)?;
    Some((options, rest.trim_ascii())).filter(|(_, rest)| is_kind(word(rest).0))
}

/// Of a key that names its own kind.
fn fingerprint(kind: &[u8], blob: &[u8]) -> Option<String> {
    let blob = STANDARD.decode(blob).ok()?;
    let (length, rest) = blob.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let is_right = rest.get(..length)? == kind;
    is_right.then(|| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))))
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word, rest.trim_ascii())
}
