//! Reads the fields of a sender's JSON: bounded, and tolerant of what is missing.
//!
//! Senders write a number as a string and an unknown as `""`, `<NA>` or -1; all of these are read. A text over its
//! bound is cut: the body itself is kept whole beside the trigger.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use crate::text::Bytes;

/// Names, ids and numbers: so short that a list of captures, with their rules, is always one message.
pub(super) const WORD_MAX: usize = 256;
/// Paths: the kernel's own limit.
pub(super) const PATH_MAX: usize = 4096;
/// Command lines.
pub(super) const CMDLINE_MAX: usize = 32 * 1024;

/// One member of an object, by its literal name (Falco's names contain dots).
pub(super) fn member<'v>(object: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()))
}

/// The first of these that is a text, or a number as its text.
pub(super) fn text(object: &Value, names: &[&str], max: usize) -> Option<String> {
    names.iter().find_map(|name| match object.get(*name)? {
        Value::String(text) => known(text).map(|text| cut(text, max).to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A word: a name or an id.
pub(super) fn word(object: &Value, names: &[&str]) -> Option<String> {
    text(object, names, WORD_MAX)
}

/// A text that stands for bytes of the host.
pub(super) fn bytes(object: &Value, names: &[&str], max: usize) -> Option<Bytes> {
    text(object, names, max).map(|text| Bytes::from(&text))
}

/// A number from 0 on, that may be written as a string.
pub(super) fn number<T: TryFrom<u64>>(object: &Value, names: &[&str]) -> Option<T> {
    let text = word(object, names)?;
    text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok())
}

/// A pid: 0 is none.
pub(super) fn pid(object: &Value, names: &[&str]) -> Option<u32> {
    number(object, names).filter(|&pid| pid != 0)
}

/// A time: RFC 3339, or nanoseconds since 1970.
pub(super) fn time(object: &Value, names: &[&str]) -> Option<Timestamp> {
    names.iter().find_map(|name| {
        let text = word(object, &[name])?;
        match text.parse::<i128>() {
            Ok(nanoseconds) => Timestamp::from_nanosecond(nanoseconds).ok(),
            Err(_) => text.parse().ok(),
        }
    })
}

/// An address.
pub(super) fn address(object: &Value, names: &[&str]) -> Option<IpAddr> {
    word(object, names)?.parse().ok()
}

/// A container id: `containerd://` and the like taken off, at least 12 hexadecimal digits.
pub(super) fn container(object: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let text = word(object, &[name])?;
        let id = text.rsplit_once("://").map_or(text.as_str(), |(_, id)| id);
        let digits = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (digits && (12..=64).contains(&id.len())).then(|| id.to_ascii_lowercase())
    })
}

fn known(text: &str) -> Option<&str> {
    let text = text.trim();
    (!matches!(text, "" | "<NA>" | "N/A" | "null")).then_some(text)
}

/// The text up to `max` bytes, whole characters.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}
