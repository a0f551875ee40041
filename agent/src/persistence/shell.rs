//! What shells read when they start, and scripts that are run: of these the lines that start something worth a look.

use super::command::programs;
use super::grammar::{commands, is_assignment};
use super::lines::{contains, joined, setting, unquoted};
use super::{Source, Start};

/// Variables that make a shell, or all programs, run something.
const HOOKS: [&[u8]; 8] = [
    b"PROMPT_COMMAND",
    b"LD_PRELOAD",
    b"LD_AUDIT",
    b"BASH_ENV",
    b"ENV",
    b"PS0",
    b"PERL5OPT",
    b"PYTHONSTARTUP",
];

/// What an alias of is odd: a password is typed into it, or it is looked with.
const GUARDED: [&[u8]; 6] = [b"sudo", b"su", b"ssh", b"passwd", b"ps", b"crontab"];

/// A file that shells read: itself, and the lines of it that start programs by path, in the background, or oddly.
pub(super) fn start(source: &Source<'_>) -> Vec<Start> {
    let mut starts = vec![source.whole(source.everybody())];
    for (number, line) in joined(source.text) {
        let one = source.command(number, source.everybody(), line.trim_ascii(), source.when);
        let named = programs(&line, source.home()).iter().any(|program| program.path.contains(&b'/'));
        let background = line.trim_ascii_end().ends_with(b"&") && !line.trim_ascii_end().ends_with(b"&&");
        if named || background || !one.odd.is_empty() || is_hook(&line) {
            starts.push(one);
        }
    }
    starts
}

/// A script: itself, and the lines of it that are odd.
pub(super) fn script(source: &Source<'_>) -> Vec<Start> {
    let who = if source.user.is_some() { source.everybody() } else { source.owner() };
    let mut starts = vec![source.whole(who.clone())];
    // A program has no lines.
    if source.text.starts_with(b"\x7fELF") {
        return starts;
    }
    for (number, line) in joined(source.text) {
        let one = source.command(number, who.clone(), line.trim_ascii(), source.when);
        if !one.odd.is_empty() {
            starts.push(one);
        }
    }
    starts
}

/// `NAME=value` lines of environment.d(5), pam_env(8) and /etc/environment: those that load or run something.
pub(super) fn environment(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, Vec<u8>)| {
        let line = line.strip_prefix(b"export ").unwrap_or(&line).to_vec();
        // pam_env.conf(5): NAME DEFAULT=value
        let (name, value) = setting(&line)?;
        let name = name.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if !HOOKS.contains(&name) && name != b"LD_LIBRARY_PATH" {
            return None;
        }
        let first = unquoted(value).split(|byte| b": ".contains(byte)).next().filter(|path| !path.is_empty());
        let mut one = source.thing(number, source.everybody(), &line, first, source.when);
        one.odd.push("makes programs load or run something else");
        Some(one)
    };
    joined(source.text).into_iter().filter_map(entry).collect()
}

fn is_hook(line: &[u8]) -> bool {
    commands(line).iter().any(|words| {
        let first = words
            .iter()
            .find(|word| !matches!(word.as_slice(), b"export" | b"set" | b"-x" | b"-gx" | b"alias"));
        let Some(first) = first else { return false };
        let name = first.split(|&byte| byte == b'=').next().unwrap_or_default();
        let assigns = is_assignment(first);
        let aliases = words.first().is_some_and(|word| word == b"alias") && GUARDED.contains(&name);
        (assigns && HOOKS.contains(&name)) || aliases || (name == b"trap" && contains(line, b"DEBUG"))
    })
}
