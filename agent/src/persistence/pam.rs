//! Stacks of PAM (pam.conf(5)).

use super::lines::{base, joined, show, split_once, word, words};
use super::{Source, Start, Who};

/// What runs something of another's choice.
const RUNNERS: [&[u8]; 4] = [b"pam_exec.so", b"pam_script.so", b"pam_python.so", b"pam_lua.so"];

pub(super) fn stack(source: &Source<'_>) -> Vec<Start> {
    joined(source.text).iter().filter_map(|(number, line)| entry(source, *number, line)).collect()
}

fn entry(source: &Source<'_>, number: u32, line: &[u8]) -> Option<Start> {
    // pam.conf itself names the service first.
    let (service, line) = match base(source.path) {
        b"pam.conf" => word(line),
        name => (name, line),
    };
    let (kind, rest) = word(line);
    let kind = kind.strip_prefix(b"-").unwrap_or(kind);
    if !matches!(kind, b"auth" | b"account" | b"password" | b"session") {
        return None;
    }
    let (control, rest) = match rest.strip_prefix(b"[") {
        Some(inner) => split_once(inner, b']')?,
        None => word(rest),
    };
    let (module, arguments) = word(rest);
    if matches!(control, b"include" | b"substack") || module.is_empty() {
        return None;
    }
    let when = format!("PAM: {} of {}", show(kind), show(service));
    let who = Who::User(b"root".to_vec());
    if RUNNERS.contains(&base(module)) {
        // The command follows the options.
        let command: Vec<&[u8]> = words(arguments).skip_while(|word| !word.starts_with(b"/")).collect();
        let command = command.join(&b' ');
        if !command.is_empty() {
            let mut one = source.command(number, who, &command, when);
            one.what = [module, b" ", arguments].concat();
            return Some(one);
        }
    }
    let what = [module, b" ", arguments].concat();
    Some(source.thing(number, who, what.trim_ascii(), Some(module), when))
}
