//! Names in the bag: ASCII, whatever the original was.
//!
//! Every byte that is not a printable ASCII character, and `%`, `=`, a trailing space or dot, becomes `=HH`;
//! a component over 200 bytes is cut and carries a hash. `bagit.py` and `sha256sum -c` disagree on everything else.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout::NAME_MAX;
use crate::text::{self, Bytes};

/// The longest component of a name, in bytes.
pub const COMPONENT_MAX: usize = 200;

/// The name of a member, relative to the bag's folder: `data/process/42-4711/environ`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name {
    /// As it stands in the bag.
    escaped: String,
    /// What it was, where that is something else.
    original: Option<Bytes>,
}

impl Name {
    /// A payload member: `data/` and the components, each of which is escaped (a `/` in one is escaped too).
    pub fn data<C: AsRef<[u8]>>(components: &[C]) -> Self {
        let mut escaped = String::from("data");
        let mut original = b"data".to_vec();
        for component in components {
            escaped.push('/');
            escaped.push_str(&escape(component.as_ref()));
            original.push(b'/');
            original.extend_from_slice(component.as_ref());
        }
        if escaped.len() > NAME_MAX {
            escaped = cut_middle(&escaped, &original);
        }
        let original = (escaped.as_bytes() != original).then_some(Bytes(original));
        Self { escaped, original }
    }

    /// A payload member under `prefix` for a file of the host: its own path, component by component.
    pub fn file(prefix: &[&str], path: &[u8]) -> Self {
        let mut components: Vec<&[u8]> = prefix.iter().map(|part| part.as_bytes()).collect();
        components.extend(path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()));
        Self::data(&components)
    }

    /// A tag file beside `data/`, by its fixed name.
    pub fn tag(name: &'static str) -> Self {
        Self { escaped: name.to_owned(), original: None }
    }

    /// As it stands in the bag.
    pub fn as_str(&self) -> &str {
        &self.escaped
    }

    /// What it was before it was escaped or cut, `None` where it is the same (or not known: the name was read from a bag).
    pub fn original(&self) -> Option<&Bytes> {
        self.original.as_ref()
    }
}

impl From<String> for Name {
    fn from(escaped: String) -> Self {
        Self { escaped, original: None }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.escaped
    }
}

// Two names are the same when they are the same in the bag.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.escaped == other.escaped
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.escaped.hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.escaped.cmp(&other.escaped)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped)
    }
}

fn escape(component: &[u8]) -> String {
    let mut out = String::with_capacity(component.len());
    let last = component.len().saturating_sub(1);
    // `.` and `..` would mean another folder; alone, every byte of them is escaped.
    let dots = matches!(component, b"." | b"..");
    for (at, &byte) in component.iter().enumerate() {
        let plain = (byte.is_ascii_graphic() || byte == b' ')
            && !matches!(byte, b'%' | b'=' | b'/' | b'\\')
            && !(at == last && matches!(byte, b' ' | b'.'))
            && !(at == 0 && byte == b' ')
            && !dots;
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('=');
            out.push_str(&text::hex(&[byte]).to_ascii_uppercase());
        }
    }
    if out.is_empty() {
        out.push_str("=00");
    }
    if out.len() > COMPONENT_MAX { cut(&out, component) } else { out }
}

/// The beginning, and 128 bits of the whole component's hash.
fn cut(escaped: &str, component: &[u8]) -> String {
    let digest = Sha256::digest(component);
    let hash = text::hex(digest.get(..16).unwrap_or_default());
    let head: String = escaped.chars().take(COMPONENT_MAX - hash.len() - 1).collect();
    format!("{head}~{hash}")
}

/// The first two components and the last; what is between becomes 128 bits of its hash.
fn cut_middle(escaped: &str, original: &[u8]) -> String {
    let mut parts = escaped.split('/');
    let (data, first) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let last = parts.next_back().unwrap_or_default();
    let digest = Sha256::digest(original);
    let hash = text::hex(digest.get(..16).unwrap_or_default());
    format!("{data}/{first}/~{hash}/{last}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_tools_disagree_on_is_escaped() {
        for (component, expected) in [
            (&b"a b"[..], "a b"),
            (b"50%=", "50=25=3D"),
            (b"end.", "end=2E"),
            (b"end ", "end=20"),
            (b" start", "=20start"),
            (b"..", "=2E=2E"),
            (b".", "=2E"),
            (b".ssh", ".ssh"),
            (b"\\n\n\xff", "=5Cn=0A=FF"),
            (b"", "=00"),
            (b"a/b", "a=2Fb"),
        ] {
            assert_eq!(escape(component), expected);
        }
    }

    #[test]
    fn a_path_keeps_its_folders_and_cannot_climb() {
        let name = Name::file(&["files"], b"//etc/../root/.ssh/");
        assert_eq!(name.as_str(), "data/files/etc/=2E=2E/root/.ssh");
    }

    #[test]
    fn long_components_that_differ_at_the_end_stay_different() {
        let (one, two) = ([b"a".repeat(300), vec![b'1']].concat(), [b"a".repeat(300), vec![b'2']].concat());
        assert!(escape(&one).len() <= COMPONENT_MAX);
        assert_ne!(escape(&one), escape(&two));
    }

    proptest! {
        #[test]
        fn a_component_is_short_printable_ascii_without_a_slash(component: Vec<u8>) {
            let escaped = escape(&component);
            prop_assert!(!escaped.is_empty() && escaped.len() <= COMPONENT_MAX);
            prop_assert!(escaped.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'/'));
            prop_assert!(escaped != "." && escaped != "..");
        }
    }
}
