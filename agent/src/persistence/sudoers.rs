//! Who may become whom without a password, and what sudo hands on (sudoers(5)); doas.conf(5).

use super::lines::{contains, find, joined, show, split_once, word};
use super::{Source, Start, Who};

pub(super) fn rules(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in joined(source.text) {
        if line.starts_with(b"Defaults") {
            let loads = [&b"LD_PRELOAD"[..], b"LD_LIBRARY_PATH", b"BASH_ENV"]
                .iter()
                .any(|name| contains(&line, name));
            if contains(&line, b"env_keep") && loads {
                let mut one = source.thing(number, Who::Everybody, &line, None, "with every sudo");
                one.odd.push("makes programs load or run something else");
                starts.push(one);
            }
            continue;
        }
        if let Some(at) = find(&line, b"NOPASSWD:") {
            let (user, rest) = word(&line);
            let runs_as = split_once(rest, b'(').and_then(|(_, rest)| split_once(rest, b')'));
            let runs_as = runs_as.map_or(&b"root"[..], |(name, _)| name);
            let commands = line.get(at.saturating_add(9)..).unwrap_or_default().trim_ascii();
            let when = format!("sudo without a password, by {}", show(user));
            let target = word(commands).0.strip_suffix(b",").unwrap_or(word(commands).0);
            let target = target.starts_with(b"/").then_some(target);
            starts.push(source.thing(number, Who::User(runs_as.to_vec()), commands, target, when));
        } else if line.starts_with(b"permit") && contains(&line, b"nopass") {
            starts.push(source.thing(number, source.owner(), &line, None, "doas without a password"));
        }
    }
    starts
}

/// `@include`, `#includedir` and their like.
pub(super) fn includes(source: &Source<'_>) -> Vec<Vec<u8>> {
    // `#include` looks like a comment, and is none.
    let all = source.text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let named = all.filter_map(|line| {
        let line = line.strip_prefix(b"@").or_else(|| line.strip_prefix(b"#"))?;
        let (key, path) = word(line);
        match key {
            b"include" => Some(path.to_vec()),
            b"includedir" => Some([path, b"/*"].concat()),
            _ => None,
        }
    });
    named.filter(|path| path.starts_with(b"/")).collect()
}
