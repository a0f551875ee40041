use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::collect::system::statx;

fn attributes(mode: u32) -> Attributes {
    let times = [Some((11, 5)), Some((12, 0)), Some((13, 999_999_999)), None];
    let some = statx(std::fs::File::open("/").unwrap(), c"").unwrap();
    Attributes { inode: 7, mode, uid: 1001, gid: 33, size: 42, times, ..some }
}

fn line(path: &[u8], target: Option<&[u8]>, mode: u32) -> String {
    let mut line = String::new();
    write_line(&mut line, path, target, &attributes(mode));
    line
}

#[test]
fn a_line_has_the_eleven_fields_of_the_format() {
    for (path, target, mode, expected) in [
        (&b"/etc/passwd"[..], None, 0o100_644, "0|/etc/passwd|7|r/rrw-r--r--|1001|33|42|11|12|13|0\n"),
        (b"", None, 0o040_755, "0|/|7|d/drwxr-xr-x|1001|33|42|11|12|13|0\n"),
        (
            b"/bin",
            Some(&b"usr/bin"[..]),
            0o120_777,
            "0|/bin -> usr/bin|7|l/lrwxrwxrwx|1001|33|42|11|12|13|0\n",
        ),
        (b"/s", None, 0o106_755, "0|/s|7|r/rrwsr-sr-x|1001|33|42|11|12|13|0\n"),
        (b"/tmp", None, 0o041_776, "0|/tmp|7|d/drwxrwxrwT|1001|33|42|11|12|13|0\n"),
    ] {
        assert_eq!(line(path, target, mode), expected);
    }
    for (mode, expected) in [
        (0o010_600, "p/prw-------"),
        (0o140_600, "h/hrw-------"),
        (0o020_600, "c/crw-------"),
        (0o060_600, "b/brw-------"),
    ] {
        assert!(line(b"/p", None, mode).contains(expected), "{expected}");
    }
}

#[test]
fn names_made_to_break_a_line_are_escaped_as_the_readers_undo_it() {
    for (path, expected) in [
        (&b"/a|b"[..], "/a%7Cb"),
        (b"/a%7Cb", "/a%257Cb"),
        (b"/100%", "/100%"),
        (b"/100% sure", "/100% sure"),
        (b"/a\nb", "/a\\x0ab"),
        (b"/a\\|", "/a\\\\%7C"),
        (b"/\xff", "/\\xff"),
        ("/\u{dc}bung".as_bytes(), "/\u{dc}bung"),
        ("/\u{dc}|%41".as_bytes(), "/\u{dc}%7C%2541"),
    ] {
        assert_eq!(line(path, None, 0o100_644).split('|').nth(1), Some(expected));
    }
}

#[test]
fn what_was_added_is_read_and_what_is_too_much_is_counted() {
    let mut body = Body::new();
    for _ in 0..1000 {
        body.add(b"/a", None, &attributes(0o100_644));
    }
    let (bytes, lines) = (body.bytes, body.lines);
    let mut text = String::new();
    body.read().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.lines().count(), lines, text.len()), (1000, 1000, usize::try_from(bytes).unwrap()));
}

proptest! {
    #[test]
    fn any_name_gives_one_line_of_eleven_fields_of_which_it_can_be_had_again(name: Vec<u8>) {
        let line = line(&[b"/", &name[..]].concat(), None, 0o100_644);
        prop_assert_eq!(line.matches('\n').count(), 1);
        let fields: Vec<&str> = line.trim_end_matches('\n').split('|').collect();
        prop_assert_eq!(fields.len(), 11);
        // As mactime does it, then as plaso does.
        let (mut once, mut rest) = (Vec::new(), fields[1].as_bytes());
        while let Some((&first, after)) = rest.split_first() {
            let code = std::str::from_utf8(&after[..after.len().min(2)]).unwrap_or_default();
            let is_code = first == b'%' && code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
            once.push(if is_code { u8::from_str_radix(code, 16).unwrap() } else { first });
            rest = &after[if is_code { 2 } else { 0 }..];
        }
        let once = String::from_utf8(once).unwrap();
        prop_assert_eq!(text::unescape(&once).unwrap(), [b"/", &name[..]].concat());
    }
}
