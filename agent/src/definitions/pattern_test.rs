use proptest::prelude::*;

use super::*;

#[test]
fn globs_match_as_a_shell_would_and_hidden_names_too() {
    for (glob, name) in [
        ("*", ".sys"),
        ("*.service", "x.service"),
        ("a*b*c", "aXXbYYbc"),
        ("?[0-9]", "x7"),
        ("[!a-c]x", "dx"),
        ("[]a]", "]"),
        ("[a-]", "-"),
        ("[", "["),
        ("*.log*", "a.log.1"),
        ("**x", "yyx"),
        ("", ""),
    ] {
        assert!(matches(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
    }
    for (glob, name) in [
        ("*.service", "x.servic"),
        ("?", ""),
        ("[a-c]", "d"),
        ("[!a]", "a"),
        ("a", "ab"),
        ("", "a"),
        ("a?", "a"),
    ] {
        assert!(!matches(glob.as_bytes(), name.as_bytes()), "{glob} {name}");
    }
}

#[test]
fn a_pattern_has_parts_and_begins_at_the_root_or_a_home() {
    let pattern = Pattern::parse(b"/etc//cron.*/./x/**/y/**5").unwrap();
    let name = |name: &str| Part::Name(name.as_bytes().to_vec());
    let parts =
        [name("etc"), Part::Glob(b"cron.*".to_vec()), name("x"), Part::Below(3), name("y"), Part::Below(5)];
    assert_eq!((pattern.at_home, pattern.parts.as_slice()), (false, parts.as_slice()));
    assert_eq!(pattern.fixed().collect::<Vec<_>>(), [b"etc"]);
    let home = Pattern::parse(b"%%users.homedir%%/.ssh/*").unwrap();
    assert!(home.at_home && home.parts.len() == 2);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    for (text, error) in [
        (&b"etc/passwd"[..], Error::NotAbsolute),
        (b"", Error::NotAbsolute),
        (b"C:\\Windows", Error::NotAbsolute),
        (b"%%users.homedir%%x", Error::NotAbsolute),
        (b"/a/../b", Error::Climbs),
        (b"%%environ_systemroot%%/x", Error::Variable("%%environ_systemroot%%".to_owned())),
        (b"/a/%%users.sid%%", Error::Variable("%%users.sid%%".to_owned())),
        (b"/a/%%b", Error::Variable("%%b%%".to_owned())),
        (b"/a/**0", Error::Depth("**0".to_owned())),
        (b"/a/**99999999999999999999999", Error::Depth("**99999999999999999999999".to_owned())),
    ] {
        assert_eq!(Pattern::parse(text).unwrap_err(), error, "{}", lossy(text));
    }
    assert_eq!(Pattern::parse(&[b'/'; 5000]).unwrap_err(), Error::Long);
}

/// What matching means, without the shortcuts.
fn slowly(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
        ([_, ..], [byte, left @ ..]) => one(glob, *byte).is_some_and(|rest| slowly(rest, left)),
        ([] | [_, ..], _) => false,
    }
}

proptest! {
    #[test]
    fn matching_is_what_it_means(glob in "[ab*?\\[\\]!-]{0,9}", name in "[ab\\]-]{0,9}") {
        prop_assert_eq!(matches(glob.as_bytes(), name.as_bytes()), slowly(glob.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn any_bytes_are_a_pattern_or_refused(text: Vec<u8>) {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert!(pattern.parts.iter().all(|part| !matches!(part, Part::Name(name) if name.contains(&b'/'))));
        }
    }
}
