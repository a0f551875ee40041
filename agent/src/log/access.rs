//! Lines of web servers' access logs in which certain addresses are.

use std::collections::HashSet;
use std::net::IpAddr;

/// Words of a line that are looked at: a client's address is among the first of any server's form, or in JSON.
const WORDS_MAX: usize = 64;
/// Bytes of a line that are looked at.
const LINE_MAX: usize = 16 << 10;

/// The first of `wanted` addresses that stands in `line` as a word of its own.
pub(crate) fn peer(line: &[u8], wanted: &HashSet<IpAddr>) -> Option<IpAddr> {
    let line = line.get(..LINE_MAX).unwrap_or(line);
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let words = line.split(|byte| !is_part(byte)).filter(|word| word.len() >= 2);
    words.take(WORDS_MAX).find_map(|word| address(word).filter(|address| wanted.contains(address)))
}

/// An address, with a port or without.
fn address(word: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(word).ok()?;
    let whole = text.parse::<IpAddr>().ok();
    let before_port = || text.rsplit_once(':').and_then(|(address, _)| address.parse().ok());
    whole.or_else(before_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted() -> HashSet<IpAddr> {
        ["203.0.113.9", "2001:db8::9"].map(|address| address.parse().unwrap()).into()
    }

    #[test]
    fn lines_of_every_server_are_found() {
        let all: [&[u8]; 7] = [
            b"203.0.113.9 - - [20/Nov/2026:14:03:27 +0000] \"POST / HTTP/1.1\" 500 0",
            b"example.org:443 203.0.113.9 - - [x] \"GET /\"",
            b"{\"request\":{\"remote_ip\":\"203.0.113.9\",\"port\":1}}",
            b"Nov 20 haproxy[1]: 203.0.113.9:51234 [x] http-in",
            b"2001:db8::9 - - \"GET /\"",
            b"::ffff:203.0.113.9 - - \"GET /\"",
            b"10.0.0.1 - - \"GET /\" 200 \"203.0.113.9\"",
        ];
        for line in all {
            assert!(peer(line, &wanted()).is_some(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn lines_of_others_are_not() {
        let all: [&[u8]; 7] = [
            b"203.0.113.90 - -",
            b"1203.0.113.9 - -",
            b"203.0.113.9.1 - -",
            b"2001:db8::90 - -",
            b"203.0.113 9",
            b"",
            b"\xff\xfe203,0,113,9",
        ];
        for line in all {
            assert_eq!(peer(line, &wanted()), None, "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line: Vec<u8>) {
            peer(&line, &wanted());
        }
    }
}
