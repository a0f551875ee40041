//! Who is trusted: allowed-signers files, as ssh-keygen(1) describes them under ALLOWED SIGNERS.

use jiff::Timestamp;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::sign::NAMESPACE;

/// A file longer than this is not read.
pub const FILE_MAX: u64 = 4 << 20;

/// The keys a verifier trusts, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Signers(Vec<Signer>);

#[derive(Clone, Debug)]
struct Signer {
    principals: String,
    key: KeyData,
    /// Where the line came from, for the answer.
    origin: String,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl Signers {
    /// Trusts `key` whatever the principal: the host's own.
    pub fn add_own(&mut self, key: &PublicKey, origin: &str) {
        self.0.push(Signer {
            principals: "*".to_owned(),
            key: key.key_data().clone(),
            origin: origin.to_owned(),
            valid_after: None,
            valid_before: None,
        });
    }

    /// Adds the lines of an allowed-signers file. The answer is what could not be used, each with its line number.
    pub fn add_file(&mut self, text: &str, origin: &str) -> Vec<String> {
        let mut refused = Vec::new();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line, format!("{origin}, line {number}")) {
                Ok(Some(signer)) => self.0.push(signer),
                Ok(None) => {}
                Err(why) => refused.push(format!("{origin}, line {number}: {why}")),
            }
        }
        refused
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By which line `key` is trusted to sign as `principal` at the time `now`.
    pub fn trust(&self, key: &KeyData, principal: &str, now: Timestamp) -> Option<&str> {
        self.0
            .iter()
            .find(|signer| {
                signer.key == *key
                    && matches_list(&signer.principals, principal)
                    && signer.valid_after.is_none_or(|after| now >= after)
                    && signer.valid_before.is_none_or(|before| now < before)
            })
            .map(|signer| signer.origin.as_str())
    }
}

/// `None` for a line that is well formed but for another purpose.
fn parse(line: &str, origin: String) -> Result<Option<Signer>, String> {
    let mut fields = fields(line).into_iter();
    let principals = unquote(&fields.next().ok_or("no principals")?).to_owned();
    let mut field = fields.next().ok_or("no key")?;
    let (mut valid_after, mut valid_before) = (None, None);
    let mut usable = true;
    if !field.starts_with("ssh-") && !field.starts_with("ecdsa-") && !field.starts_with("sk-") {
        for option in split_outside_quotes(&field, ',') {
            let (name, value) = option.split_once('=').unwrap_or((&option, ""));
            let value = unquote(value);
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => usable &= matches_list(value, NAMESPACE),
                "valid-after" => valid_after = Some(time(value)?),
                "valid-before" => valid_before = Some(time(value)?),
                "cert-authority" => usable = false,
                _ => return Err(format!("the option {name} is not known")),
            }
        }
        field = fields.next().ok_or("no key")?;
    }
    let blob = fields.next().ok_or("no key")?;
    let key = PublicKey::from_openssh(&format!("{field} {blob}")).map_err(|error| error.to_string())?;
    let key = key.key_data().clone();
    Ok(usable.then_some(Signer { principals, key, origin, valid_after, valid_before }))
}

/// Fields parted by blanks, which may stand inside double quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = split_outside_quotes(&line.replace('\t', " "), ' ');
    fields.retain(|field| !field.is_empty());
    fields
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        quoted ^= character == '"';
        if character == separator && !quoted {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// `YYYYMMDD[HHMM[SS]][Z]`. ssh-keygen takes a time without `Z` as local; here it is UTC on every machine.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(format!("`{text}` is not a time: YYYYMMDD[HHMM[SS]][Z] is expected")),
    };
    Timestamp::strptime("%Y%m%d%H%M%S%z", format!("{full}+0000"))
        .map_err(|_| format!("`{text}` is not a time: YYYYMMDD[HHMM[SS]][Z] is expected"))
}

/// ssh_config(5), PATTERNS: a list parted by commas, `*` and `?`, and `!` which refuses.
fn matches_list(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, text) => return false,
            Some(_) => {}
            None => found |= matches(pattern, text),
        }
    }
    found
}

/// `*` stands for any number of characters, `?` for one. In time of the product of the two lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0_usize, 0_usize);
    // Where to go back to: after the last star, with one more character given to it.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, t));
                p = p.saturating_add(1);
            }
            Some(&character) if character == '?' || Some(&character) == text.get(t) => {
                p = p.saturating_add(1);
                t = t.saturating_add(1);
            }
            _ => {
                let Some((star, taken)) = back else { return false };
                back = Some((star, taken.saturating_add(1)));
                p = star.saturating_add(1);
                t = taken.saturating_add(1);
            }
        }
    }
    pattern.iter().skip(p).all(|&character| character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn key() -> KeyData {
        PublicKey::from_openssh(KEY).unwrap().key_data().clone()
    }

    fn trusted(line: &str, principal: &str) -> bool {
        let mut signers = Signers::default();
        assert_eq!(signers.add_file(line, "test"), Vec::<String>::new(), "{line}");
        signers.trust(&key(), principal, "2026-11-20T00:00:00Z".parse().unwrap()).is_some()
    }

    #[test]
    fn lines_are_used_as_ssh_keygen_uses_them() {
        for (line, expected) in [
            (format!("afterimage@1 {KEY}"), true),
            (format!("*@1 {KEY} a comment"), true),
            (format!("\"afterimage@?,x\"\t namespaces=\"git,after*\" {KEY}"), true),
            (format!("* valid-after=\"20200101\",valid-before=\"20300101Z\" {KEY}"), true),
            (format!("* namespaces=\"git\" {KEY}"), false),
            (format!("* cert-authority {KEY}"), false),
            (format!("* valid-after=\"20270101\" {KEY}"), false),
            (format!("* valid-before=\"202001011200\" {KEY}"), false),
            (format!("*,!afterimage@1 {KEY}"), false),
            (format!("afterimage@2 {KEY}"), false),
            (format!("# * {KEY}"), false),
        ] {
            assert_eq!(trusted(&line, "afterimage@1"), expected, "{line}");
        }
    }

    #[test]
    fn lines_that_are_not_are_said_and_not_trusted() {
        let lines = format!(
            "*\n* ssh-ed25519\n* ssh-ed25519 AAAA\n* no-such {KEY}\n* valid-after=\"soon\" {KEY}\n\""
        );
        let mut signers = Signers::default();
        assert_eq!(signers.add_file(&lines, "test").len(), 6);
        assert!(signers.is_empty());
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("*a*b", "xaxxb", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
