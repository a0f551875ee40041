//! Rules of udev (udev(7)) that run something.

use super::lines::{contains, joined, show};
use super::{Source, Start};

pub(super) fn rules(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in joined(source.text) {
        let all = assignments(&line);
        let matches: Vec<String> = all
            .iter()
            .filter(|(_, operator, _)| *operator == "==")
            .map(|(key, _, value)| format!("{}=={}", show(key), show(value)))
            .take(6)
            .collect();
        let of = if matches.is_empty() { "any".to_owned() } else { matches.join(", ") };
        for (key, _, command) in &all {
            let program = key.starts_with(b"RUN") && !contains(key, b"builtin");
            if program || key == b"PROGRAM" || key == b"IMPORT{program}" {
                starts.push(source.command(
                    number,
                    source.owner(),
                    command,
                    format!("on a device event: {of}"),
                ));
            }
        }
    }
    starts
}

type Assignment = (Vec<u8>, &'static str, Vec<u8>);

/// `KEY{attribute}OPERATOR"value"`, separated by commas.
fn assignments(line: &[u8]) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(open) = rest.iter().position(|&byte| byte == b'"') {
        let head = rest.get(..open).unwrap_or_default();
        // e"..." has escapes of C; they do not hide what is run.
        let head = head.strip_suffix(b"e").filter(|head| head.ends_with(b"=")).unwrap_or(head);
        let head = head.trim_ascii().trim_ascii_start();
        let head = head.strip_prefix(b",").unwrap_or(head).trim_ascii();
        let operators =
            [("==", &b"=="[..]), ("!=", b"!="), ("+=", b"+="), (":=", b":="), ("-=", b"-="), ("=", b"=")];
        let operator = operators.into_iter().find_map(|(name, end)| Some((name, head.strip_suffix(end)?)));
        let body = rest.get(open.saturating_add(1)..).unwrap_or_default();
        let mut value = Vec::new();
        let mut used = body.len();
        let mut bytes = body.iter().copied().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    used = at.saturating_add(1);
                    break;
                }
                b'\\' if body.get(at.saturating_add(1)) == Some(&b'"') => {
                    bytes.next();
                    value.push(b'"');
                }
                _ => value.push(byte),
            }
        }
        if let Some((operator, key)) = operator {
            found.push((key.trim_ascii().to_vec(), operator, value));
        }
        rest = body.get(used..).unwrap_or_default();
    }
    found
}
