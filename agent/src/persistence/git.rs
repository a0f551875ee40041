//! Settings of Git that run something (git-config(1)).

use super::lines::{joined, setting, show, unquoted};
use super::{Source, Start};

pub(super) fn config(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, section, key, value) in settings(source.text) {
        let name = [section.as_slice(), b".", &key].concat();
        let when = format!("git: {}", show(&name));
        let who = source.everybody();
        match (section.as_slice(), key.as_slice()) {
            (b"core", b"hookspath") | (b"init", b"templatedir") => {
                starts.push(source.thing(
                    number,
                    who,
                    &value,
                    Some(&value),
                    format!("{when}: hooks from this folder"),
                ));
            }
            (b"core", b"fsmonitor" | b"sshcommand" | b"pager" | b"editor" | b"askpass" | b"gitproxy")
            | (b"diff", b"external")
            | (b"sequence", b"editor")
                // fsmonitor may be a switch.
                if !matches!(value.as_slice(), b"true" | b"false") =>
            {
                starts.push(source.command(number, who, &value, when));
            }
            (
                section,
                b"helper" | b"textconv" | b"clean" | b"smudge" | b"process" | b"driver" | b"cmd" | b"program",
            ) if !section.is_empty() => {
                let command = value.strip_prefix(b"!").unwrap_or(&value);
                starts.push(source.command(number, who, command, when));
            }
            (b"alias", _) => {
                if let Some(command) = value.strip_prefix(b"!") {
                    starts.push(source.command(number, who, command, when));
                }
            }
            _ => {}
        }
    }
    starts
}

/// `include.path`, and the conditional ones.
pub(super) fn includes(source: &Source<'_>) -> Vec<Vec<u8>> {
    let named = settings(source.text)
        .into_iter()
        .filter(|(_, section, key, _)| section.starts_with(b"include") && key == b"path");
    let base = super::lines::folder(source.path);
    let absolute = |value: Vec<u8>| {
        let path = super::command::expanded(&value, source.home());
        if path.starts_with(b"/") { path } else { [base, b"/", &path].concat() }
    };
    named.map(|(_, _, _, value)| absolute(value)).collect()
}

/// Line, section in small letters (without its part in quotes), key in small letters, value.
type Setting = (u32, Vec<u8>, Vec<u8>, Vec<u8>);

fn settings(text: &[u8]) -> Vec<Setting> {
    let mut section = Vec::new();
    let mut found = Vec::new();
    for (number, line) in joined(text) {
        let line = line.trim_ascii();
        if let Some(head) = line.strip_prefix(b"[") {
            let end = head.iter().position(|byte| b" ]\"\t".contains(byte)).unwrap_or(head.len());
            section = head.get(..end).unwrap_or_default().to_ascii_lowercase();
        } else if let Some((key, value)) = setting(line).filter(|_| !line.starts_with(b";")) {
            found.push((number, section.clone(), key.to_ascii_lowercase(), unquoted(value).to_vec()));
        }
    }
    found
}
