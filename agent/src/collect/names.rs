//! Names made to mislead, and paths where a hidden name does not belong. Pure.

use crate::text;

/// What is wrong with a file's name; empty for most.
pub(super) fn misleading(name: &[u8]) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    let bare = name.trim_ascii();
    if bare.len() >= 3 && bare.iter().all(|&byte| byte == b'.') {
        reasons.push("a name of dots alone");
    }
    if bare.len() != name.len() {
        reasons.push("a space at the beginning or end of the name");
    }
    if name.iter().any(u8::is_ascii_control) {
        reasons.push("a control character in the name");
    }
    match std::str::from_utf8(name) {
        Err(_) => reasons.push("a name that is not UTF-8"),
        Ok(name) => {
            if name.chars().any(steers) {
                reasons.push("an invisible or text-reordering character in the name");
            }
            let latin = name.chars().any(|character| character.is_ascii_alphabetic());
            if latin && name.chars().any(looks_latin) {
                reasons.push("letters of another script that look Latin");
            }
        }
    }
    reasons
}

/// The same of a process's own name, which programs set and the kernel cuts: only what deceives whoever reads it counts.
pub(super) fn misleading_shown(name: &[u8]) -> bool {
    let whole = match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(error) => {
            std::str::from_utf8(name.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
    };
    let latin = whole.chars().any(|character| character.is_ascii_alphabetic());
    name.iter().any(u8::is_ascii_control)
        || whole.chars().any(steers)
        || (latin && whole.chars().any(looks_latin))
}

/// A character that our own escaping shows as bytes, though it is not a control character.
fn steers(character: char) -> bool {
    let mut buffer = [0; 4];
    let plain = character.encode_utf8(&mut buffer);
    !character.is_control() && character != '\\' && text::escape(plain.as_bytes()) != *plain
}

/// Cyrillic, Greek and full-width letters whose shape is that of a Latin one.
fn looks_latin(character: char) -> bool {
    "\u{430}\u{435}\u{43e}\u{440}\u{441}\u{445}\u{443}\u{456}\u{458}\u{455}\u{501}\u{4bb}\u{3bf}\u{3b9}\u{3bd}\u{3b1}"
        .contains(character)
        || ('\u{ff41}'..='\u{ff5a}').contains(&character)
}

/// Whether a name hides a file from a plain listing.
pub(super) fn is_dot(name: &[u8]) -> bool {
    name.len() > 1 && name.starts_with(b".")
}

/// Whether any component of an absolute path is hidden.
pub(super) fn is_hidden(path: &[u8]) -> bool {
    path.starts_with(b"/") && path.split(|&byte| byte == b'/').any(|part| is_dot(part) && part != b"..")
}

/// Hidden names that belong where they are, on most hosts.
pub(super) fn is_usual(path: &[u8]) -> bool {
    const TEMPORARY: [&[u8]; 5] = [b".X11-unix", b".ICE-unix", b".XIM-unix", b".font-unix", b".Test-unix"];
    const ROOT: [&[u8]; 3] = [b".dockerenv", b".autorelabel", b".autofsck"];
    const ELSEWHERE: &[&[u8]] = &[
        b".build-id",
        b".dwz",
        b".pwd.lock",
        b".placeholder",
        b".keep",
        b".gitkeep",
        b".gitignore",
        b".gitattributes",
        b".npmignore",
        b".editorconfig",
        b".eslintrc",
        b".travis.yml",
        b".github",
        b".bin",
        b".package-lock.json",
        b".well-known",
        b".htaccess",
        b".updated",
        b".git",
        b".hg",
        b".svn",
        b".cargo",
        b".vscode",
        b".idea",
        b".husky",
        b".circleci",
    ];
    let (folder, name) = split(path);
    let anybody = [&b"/tmp/"[..], b"/var/tmp/", b"/dev/", b"/run/"].iter().any(|area| path.starts_with(area));
    let temporary = [&b"/tmp"[..], b"/var/tmp"].contains(&folder);
    let lock = name.starts_with(b".X") && name.ends_with(b"-lock");
    (!anybody && ELSEWHERE.contains(&name))
        || (temporary && (TEMPORARY.contains(&name) || lock))
        || folder == b"/etc/skel"
        || (folder == b"/" && ROOT.contains(&name))
}

/// A path's folder and last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
    let folder = if slash == 0 { b"/" } else { path.get(..slash).unwrap_or_default() };
    (folder, path.get(slash.saturating_add(1)..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_made_to_mislead_are_found() {
        for name in [
            &b"..."[..],
            b".. ",
            b" ..",
            b"....",
            b"vim ",
            b"a\nb",
            b"\x1b[2J",
            b"\xff\xfe",
            "ssh\u{200b}d".as_bytes(),
            "gnp.\u{202e}sh".as_bytes(),
            "b\u{430}sh".as_bytes(),
        ] {
            assert!(!misleading(name).is_empty(), "{}", text::escape(name));
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for name in ["vim", ".cache", "a b", "Übung.txt", "Отчёт.doc", "日本語", "a\\b", "x..y", "..", "."]
        {
            assert_eq!(misleading(name.as_bytes()), Vec::<&str>::new(), "{name}");
        }
    }

    #[test]
    fn hidden_paths_and_usual_ones_are_told_apart() {
        for path in ["/home/u/.cache/.sys/x", "/tmp/.x", "/...", "/a/.b"] {
            assert!(is_hidden(path.as_bytes()), "{path}");
        }
        for path in ["/home/u/x", "./x", "/a/../b", "/a/./b", "-rf", ".hidden", ""] {
            assert!(!is_hidden(path.as_bytes()), "{path}");
        }
        for path in [
            "/tmp/.X11-unix",
            "/tmp/.X0-lock",
            "/usr/lib/.build-id",
            "/srv/app/.git",
            "/.dockerenv",
            "/etc/skel/.bashrc",
        ] {
            assert!(is_usual(path.as_bytes()), "{path}");
        }
        for path in [
            "/tmp/.x",
            "/tmp/.git",
            "/.x",
            "/run/.bin",
            "/home/u/.X11-unix",
            "/dev/shm/.X0-lock",
            "/usr/bin/.sshd",
        ] {
            assert!(!is_usual(path.as_bytes()), "{path}");
        }
        assert_eq!(split(b"/a/b"), (&b"/a"[..], &b"b"[..]));
        assert_eq!(split(b"/a"), (&b"/"[..], &b"a"[..]));
    }

    proptest! {
        #[test]
        fn any_name_is_judged(name: Vec<u8>) {
            misleading(&name);
            is_usual(&name);
            is_hidden(&name);
        }
    }
}
