//! As much HTTP as the drill's service, its attacker and its payload need.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const LONGEST_HEAD: u64 = 16 * 1024;
const LONGEST_BODY: u64 = 64 * 1024 * 1024;

/// The target of a GET request: `/run?cmd=id`.
pub fn target(stream: impl Read) -> io::Result<String> {
    let mut head = BufReader::new(stream).take(LONGEST_HEAD);
    let mut first = String::new();
    head.read_line(&mut first)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    match first.split(' ').collect::<Vec<_>>()[..] {
        ["GET", target, _] => Ok(target.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a GET request")),
    }
}

/// Answers and closes.
pub fn answer(mut stream: &TcpStream, status: &str, body: &[u8]) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// The body of `GET target`.
pub fn get(address: &str, target: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_BODY).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = head
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer without an end of its head"))?;
    Ok(answer.split_off(body + 4))
}

/// The value of `name` in a target's query, decoded.
pub fn parameter(target: &str, name: &str) -> Option<Vec<u8>> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| decode(pair.strip_prefix(name)?.strip_prefix('=')?))
}

/// Undoes the encoding of a form (`+` and `%HH`); `None` where a `%` is not followed by two digits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = after.split_at_checked(2)?;
                let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = tail;
            }
            byte => bytes.push(*byte),
        }
    }
    Some(bytes)
}

/// `text` as it may stand in a query.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_way_through_a_query() {
        let command = "cd /tmp; echo 'a b' && x=$((1+1)) | tee \"ü\" >&2 #%\n";
        let target = format!("/run?a=b&cmd={}", encode(command));
        assert_eq!(parameter(&target, "cmd").unwrap(), command.as_bytes());
        assert_eq!(parameter("/run?cmd=a+b", "cmd").unwrap(), b"a b");
    }

    #[test]
    fn broken_encodings_and_missing_parameters_are_refused() {
        for text in ["%", "%4", "%zz", "%+1", "a%"] {
            assert_eq!(decode(text), None, "{text}");
        }
        for target in ["/run", "/run?", "/run?cmdx=1", "/run?x=1"] {
            assert_eq!(parameter(target, "cmd"), None, "{target}");
        }
    }

    #[test]
    fn only_a_get_request_has_a_target() {
        assert_eq!(target(&b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"[..]).unwrap(), "/x");
        for request in ["", "POST /x HTTP/1.1\r\n\r\n", "GET\r\n", "GET /x\r\n\r\n"] {
            assert!(target(request.as_bytes()).is_err(), "{request}");
        }
    }
}
