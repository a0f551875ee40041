//! Keys that let somebody in, and what the SSH server and client run (sshd(8), sshd_config(5), ssh_config(5)).

use super::lines::{find, lines, show, unquoted, word, words};
use super::{Source, Start, Who};

/// How a line without options begins.
const KEY_TYPES: [&[u8]; 4] = [b"ssh-", b"ecdsa-", b"sk-", b"rsa-"];

/// A file of authorized keys.
pub(super) fn keys(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in lines(source.text) {
        let (options, key) = split(line);
        let (kind, rest) = word(key);
        let (blob, comment) = word(rest);
        if !is_type(kind) || blob.is_empty() {
            continue;
        }
        let tail = blob.get(blob.len().saturating_sub(16)..).unwrap_or_default();
        let key = format!("{} …{} {}", show(kind), show(tail), show(comment));
        let when = format!("at a login with the key {}", key.trim_end());
        let mut forced = false;
        for (name, value) in options {
            if name.eq_ignore_ascii_case(b"command") {
                forced = true;
                starts.push(source.command(number, source.owner(), &value, when.clone()));
            } else if name.eq_ignore_ascii_case(b"environment") {
                starts.push(source.command(number, source.owner(), &value, when.clone()));
            }
        }
        if !forced {
            starts.push(source.thing(number, source.owner(), b"a login shell", None, when));
        }
    }
    starts
}

fn is_type(kind: &[u8]) -> bool {
    KEY_TYPES.iter().any(|start| kind.starts_with(start))
}

type Options = Vec<(Vec<u8>, Vec<u8>)>;

/// The options before the key, with values without quotes.
fn split(line: &[u8]) -> (Options, &[u8]) {
    if is_type(line) {
        return (Vec::new(), line);
    }
    let mut options = vec![(Vec::new(), Vec::new())];
    let (mut quoted, mut in_value) = (false, false);
    let mut bytes = line.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return (options, line.get(at..).unwrap_or_default()),
            b',' if !quoted => {
                options.push((Vec::new(), Vec::new()));
                in_value = false;
            }
            b'=' if !in_value => in_value = true,
            _ => {
                let escaped = quoted && byte == b'\\' && line.get(at.saturating_add(1)) == Some(&b'"');
                let byte = if escaped { bytes.next().map_or(byte, |(_, next)| next) } else { byte };
                if let Some((name, value)) = options.last_mut() {
                    if in_value { value.push(byte) } else { name.push(byte) }
                }
            }
        }
    }
    (options, b"")
}

/// The server's settings.
pub(super) fn server(source: &Source<'_>) -> Vec<Start> {
    let all: Vec<(u32, &[u8], &[u8])> = directives(source.text).collect();
    let user_of = |name: &[u8]| {
        let found = all.iter().find(|(_, key, _)| key.eq_ignore_ascii_case(name));
        Who::User(found.map_or(b"root".to_vec(), |(_, _, value)| value.to_vec()))
    };
    let mut of = String::new();
    let mut starts = Vec::new();
    for (number, key, value) in &all {
        let lower = key.to_ascii_lowercase();
        let login = Who::Everybody;
        if value.eq_ignore_ascii_case(b"none") {
            continue;
        }
        match lower.as_slice() {
            b"match" => of = format!(" (Match {})", show(value)),
            b"authorizedkeyscommand" => {
                let who = user_of(b"AuthorizedKeysCommandUser");
                starts.push(source.command(
                    *number,
                    who,
                    value,
                    format!("at every attempt to log in by key{of}"),
                ));
            }
            b"authorizedprincipalscommand" => {
                let who = user_of(b"AuthorizedPrincipalsCommandUser");
                starts.push(source.command(
                    *number,
                    who,
                    value,
                    format!("at every attempt to log in by certificate{of}"),
                ));
            }
            b"forcecommand" if *value != b"internal-sftp" => {
                starts.push(source.command(*number, login, value, format!("at every login{of}")));
            }
            b"subsystem" => {
                let (name, command) = word(value);
                if command != b"internal-sftp" {
                    starts.push(source.command(
                        *number,
                        login,
                        command,
                        format!("at a login for {}{of}", show(name)),
                    ));
                }
            }
            b"setenv" | b"acceptenv" if find(value, b"LD_").is_some() => {
                let mut one = source.thing(*number, login, value, None, format!("at every login{of}"));
                one.odd.push("makes programs load or run something else");
                starts.push(one);
            }
            b"authorizedkeysfile" | b"trustedusercakeys" => {
                for file in words(value).filter(|file| file.starts_with(b"/")) {
                    let mut when = format!("keys in this file let in{of}");
                    when.truncate(200);
                    starts.push(source.thing(*number, Who::Everybody, file, Some(file), when));
                }
            }
            _ => {}
        }
    }
    starts
}

/// The client's settings.
pub(super) fn client(source: &Source<'_>) -> Vec<Start> {
    let mut of = String::from("any host");
    let mut starts = Vec::new();
    for (number, key, value) in directives(source.text) {
        match key.to_ascii_lowercase().as_slice() {
            b"host" | b"match" => of = show(value),
            b"proxycommand" | b"localcommand" | b"knownhostscommand"
                if !value.eq_ignore_ascii_case(b"none") =>
            {
                let when = format!("when ssh connects to {of}");
                starts.push(source.command(number, source.everybody(), value, when));
            }
            b"pkcs11provider" | b"securitykeyprovider" if value.starts_with(b"/") => {
                let when = format!("when ssh connects to {of}");
                starts.push(source.thing(number, source.everybody(), value, Some(value), when));
            }
            _ => {}
        }
    }
    starts
}

pub(super) fn includes(source: &Source<'_>) -> Vec<Vec<u8>> {
    let named = directives(source.text).filter(|(_, key, _)| key.eq_ignore_ascii_case(b"include"));
    let base: Vec<u8> = match source.user {
        Some((_, home)) => [home, b"/.ssh/"].concat(),
        None => b"/etc/ssh/".to_vec(),
    };
    let absolute = |file: &[u8]| {
        let file = super::command::expanded(unquoted(file), source.home());
        if file.starts_with(b"/") { file } else { [base.as_slice(), &file].concat() }
    };
    named.flat_map(|(_, _, value)| words(value)).map(absolute).collect()
}

/// `Key value` or `Key=value`.
fn directives(text: &[u8]) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
    lines(text).map(|(number, line)| {
        let end = line.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'=');
        let (key, value) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, b""));
        let value = value.trim_ascii();
        (number, key, unquoted(value.strip_prefix(b"=").unwrap_or(value).trim_ascii()))
    })
}
