//! Hooks of package managers: apt.conf(5), dpkg(1), dnf's post-transaction actions.

use super::lines::{contains, lines, setting, show, word};
use super::{Source, Start};

/// Names of apt's settings whose values are run.
const HOOKS: [&[u8]; 4] = [b"invoke", b"pre-install-pkgs", b"aptcli::hooks", b"bin::methods"];
/// Names within names.
const DEPTH_MAX: usize = 32;

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    Text(Vec<u8>),
    Open,
    Close,
    End,
}

pub(super) fn hooks(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    let mut scopes: Vec<Vec<u8>> = Vec::new();
    let mut name = Vec::new();
    let mut value: Option<(u32, Vec<u8>)> = None;
    for (line, token) in tokens(source.text) {
        match token {
            Token::Word(word) if name.is_empty() => name = word,
            Token::Word(text) | Token::Text(text) => value = Some((line, text)),
            Token::Open if scopes.len() < DEPTH_MAX => scopes.push(std::mem::take(&mut name)),
            Token::Open => return starts,
            Token::Close | Token::End => {
                if let Some((line, command)) = value.take() {
                    let mut full = scopes.join(&b"::"[..]);
                    full.extend_from_slice(b"::");
                    full.append(&mut name);
                    let full = full.strip_prefix(b"::").unwrap_or(&full).to_ascii_lowercase();
                    if HOOKS.iter().any(|hook| contains(&full, hook)) && !command.is_empty() {
                        let when = format!("apt: {}", show(full.strip_suffix(b"::").unwrap_or(&full)));
                        starts.push(source.command(line, source.owner(), &command, when));
                    }
                }
                name.clear();
                if token == Token::Close {
                    scopes.pop();
                }
            }
        }
    }
    starts
}

fn tokens(text: &[u8]) -> Vec<(u32, Token)> {
    let mut found = Vec::new();
    let mut line: u32 = 1;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let begun = line;
        match byte {
            b'\n' => line = line.saturating_add(1),
            _ if byte.is_ascii_whitespace() => {}
            b'#' => while bytes.next_if(|&next| next != b'\n').is_some() {},
            b'/' if bytes.peek() == Some(&b'/') => while bytes.next_if(|&next| next != b'\n').is_some() {},
            b'/' if bytes.peek() == Some(&b'*') => {
                let mut before = b' ';
                for next in bytes.by_ref() {
                    line = line.saturating_add(u32::from(next == b'\n'));
                    if before == b'*' && next == b'/' {
                        break;
                    }
                    before = next;
                }
            }
            b'{' => found.push((begun, Token::Open)),
            b'}' => found.push((begun, Token::Close)),
            b';' => found.push((begun, Token::End)),
            b'"' => {
                let mut value = Vec::new();
                while let Some(next) = bytes.next() {
                    match next {
                        b'"' => break,
                        b'\\' => value.extend(bytes.next()),
                        _ => value.push(next),
                    }
                    line = line.saturating_add(u32::from(next == b'\n'));
                }
                found.push((begun, Token::Text(value)));
            }
            _ => {
                let mut word = vec![byte];
                while let Some(next) =
                    bytes.next_if(|next| !next.is_ascii_whitespace() && !b"{};\"".contains(next))
                {
                    word.push(next);
                }
                found.push((begun, Token::Word(word)));
            }
        }
    }
    found
}

/// `pre-invoke=COMMAND` of dpkg.cfg.
pub(super) fn dpkg(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        let (key, value) = setting(line).unwrap_or_else(|| word(line));
        let key = key.strip_prefix(b"--").unwrap_or(key);
        let known =
            [&b"pre-invoke"[..], b"post-invoke", b"status-logger"].contains(&key) && !value.is_empty();
        known.then(|| source.command(number, source.owner(), value, format!("dpkg: {}", show(key))))
    };
    lines(source.text).filter_map(entry).collect()
}

/// `PACKAGES:STATE:COMMAND` of dnf, and `Exec = COMMAND` of pacman's hooks.
pub(super) fn action(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        if let Some((b"Exec", command)) = setting(line) {
            return Some(source.command(
                number,
                source.owner(),
                command,
                "when packages are installed or removed",
            ));
        }
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (packages, state, command) = (parts.next()?, parts.next()?, parts.next()?);
        let when = format!("dnf: {} of {}", show(state), show(packages));
        (!command.is_empty()).then(|| source.command(number, source.owner(), command, when))
    };
    lines(source.text).filter_map(entry).collect()
}
