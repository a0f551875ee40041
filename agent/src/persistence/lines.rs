//! Lines and words of settings.

/// Lines of one file; more are not read.
const LINES_MAX: usize = 100_000;

/// The lines with their numbers, trimmed; without empty ones and those that begin with `#`.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    numbered(text).map(|(number, line)| (number, line.trim_ascii())).filter(|(_, line)| is_meant(line))
}

/// The same; a line that ends with a backslash goes on in the next one.
pub(crate) fn joined(text: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut all: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut open = false;
    for (number, line) in numbered(text) {
        let line = line.trim_ascii();
        let continues = line.strip_suffix(b"\\");
        let part = continues.unwrap_or(line);
        match all.last_mut() {
            Some((_, before)) if open => {
                before.push(b' ');
                before.extend_from_slice(part);
            }
            _ => all.push((number, part.to_vec())),
        }
        // A comment ends with its line, whatever stands there.
        open = continues.is_some() && (open || !line.starts_with(b"#"));
    }
    all.retain(|(_, line)| is_meant(line.trim_ascii()));
    all
}

fn numbered(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1..).zip(text.split(|&byte| byte == b'\n')).take(LINES_MAX)
}

fn is_meant(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"#")
}

/// What stands before and after the first `byte`.
pub(crate) fn split_once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&other| other == byte)?;
    Some((text.get(..at)?, text.get(at.saturating_add(1)..)?))
}

/// `key = value`, both trimmed.
pub(super) fn setting(line: &[u8]) -> Option<(&[u8], &[u8])> {
    split_once(line, b'=').map(|(key, value)| (key.trim_ascii(), value.trim_ascii()))
}

/// The first word, and what follows it, trimmed.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (first, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    (first, rest.trim_ascii())
}

/// All words.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Without the quotes around it.
pub(super) fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => text,
    }
}

/// Whether `part` occurs in `text`.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

/// Where `part` begins in `text`.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1)).position(|window| window == part)
}

/// A path's last name.
pub(crate) fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The folder of a path.
pub(super) fn folder(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
    path.get(..end).unwrap_or_default()
}

/// For the words of `when`: printable, and short.
pub(super) fn show(text: &[u8]) -> String {
    const SHOWN: usize = 200;
    crate::text::escape(text.get(..text.len().min(SHOWN)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_numbered_and_joined() {
        let text = b"# a\\\nb c\\\n d\n\n  #e\nf\\";
        let plain: Vec<u32> = lines(text).map(|(number, _)| number).collect();
        assert_eq!(plain, [2, 3, 6]);
        assert_eq!(joined(text), [(2, b"b c d".to_vec()), (6, b"f".to_vec())]);
    }

    #[test]
    fn odd_settings_and_words_are_no_surprise() {
        assert_eq!(setting(b"a = b=c"), Some((&b"a"[..], &b"b=c"[..])));
        assert_eq!(setting(b"none"), None);
        assert_eq!(word(b""), (&b""[..], &b""[..]));
        assert_eq!(word(b" a  b c "), (&b"a"[..], &b"b c"[..]));
        assert_eq!(unquoted(b"\""), b"\"");
        assert_eq!(unquoted(b"\"a'"), b"\"a'");
        assert!(!contains(b"", b"a") && !contains(b"a", b""));
        assert_eq!((base(b"/"), folder(b"a")), (&b""[..], &b""[..]));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: Vec<u8>) {
            for (_, line) in joined(&text) {
                word(&line);
                setting(&line);
            }
            prop_assert!(lines(&text).all(|(_, line)| !line.contains(&b'\n')));
        }
    }
}
