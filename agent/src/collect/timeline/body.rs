//! The body file: a line for each file, in the format of The Sleuth Kit 3, which mactime and plaso read. Pure.
//!
//! `MD5|name|inode|mode_as_string|UID|GID|size|atime|mtime|ctime|crtime`; times are seconds since 1970, 0 where there is none.
//! A name is escaped as plaso undoes it (`\\`, `\xHH`), so that a line is one line and UTF-8; but a `|`, and a `%` that
//! two hexadecimal digits follow, as mactime undoes it (`%7C`, `%25`): it splits a line at every `|` whatever stands before.

use std::io;

use crate::collect::system::Attributes;
use crate::text;

/// Memory for the lines, which are compressed as they come: some millions.
const PACKED_MAX: usize = 32 << 20;

/// Lines in the making.
pub(super) struct Body {
    packed: Option<zstd::Encoder<'static, Vec<u8>>>,
    line: String,
    /// Bytes, and lines, that are in it; and lines that were too many.
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) left_out: u64,
}

impl Body {
    pub(super) fn new() -> Self {
        let packed = zstd::Encoder::new(Vec::new(), 1).ok();
        Self { packed, line: String::new(), bytes: 0, lines: 0, left_out: 0 }
    }

    /// Adds a file.
    pub(super) fn add(&mut self, path: &[u8], target: Option<&[u8]>, file: &Attributes) {
        self.line.clear();
        write_line(&mut self.line, path, target, file);
        let room = self.packed.as_ref().is_some_and(|packed| packed.get_ref().len() < PACKED_MAX);
        let written = room
            && self
                .packed
                .as_mut()
                .is_some_and(|packed| io::Write::write_all(packed, self.line.as_bytes()).is_ok());
        if written {
            self.lines += 1;
            self.bytes = self.bytes.saturating_add(u64::try_from(self.line.len()).unwrap_or(u64::MAX));
        } else {
            self.left_out += 1;
        }
    }

    /// The lines, to be read.
    pub(super) fn read(self) -> io::Result<impl io::Read> {
        let packed = self.packed.ok_or_else(|| io::Error::other("it could not be compressed"))?;
        zstd::Decoder::new(io::Cursor::new(packed.finish()?))
    }
}

fn write_line(line: &mut String, path: &[u8], target: Option<&[u8]>, file: &Attributes) {
    line.push_str("0|");
    push_name(line, if path.is_empty() { b"/" } else { path });
    if let Some(target) = target {
        line.push_str(" -> ");
        push_name(line, target);
    }
    line.push('|');
    line.push_str(&file.inode.to_string());
    line.push('|');
    push_mode(line, file.mode);
    for number in [u64::from(file.uid), u64::from(file.gid), file.size] {
        line.push('|');
        line.push_str(&number.to_string());
    }
    for time in file.times {
        let seconds = time.map_or(0, |(seconds, _)| seconds).max(0);
        line.push('|');
        line.push_str(&seconds.to_string());
    }
    line.push('\n');
}

fn push_name(line: &mut String, name: &[u8]) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'|' | b'%');
    if let (true, Ok(name)) = (name.iter().all(plain), std::str::from_utf8(name)) {
        return line.push_str(name);
    }
    let escaped = text::escape(name);
    let mut rest = escaped.as_str();
    while let Some(at) = rest.find(['|', '%', '\\']) {
        let (before, from) = rest.split_at(at);
        line.push_str(before);
        let after = from.get(1..).unwrap_or_default();
        let is_code = after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        let (length, code) = match from.as_bytes() {
            [b'|', ..] => (1, "%7C".to_owned()),
            [b'%', ..] if is_code => (1, "%25".to_owned()),
            [b'%', ..] => (1, "%".to_owned()),
            // plaso knows the digits in lower case.
            [b'\\', b'x', ..] => (4, from.get(..4).unwrap_or_default().to_ascii_lowercase()),
            _ => (2, "\\\\".to_owned()),
        };
        line.push_str(&code);
        rest = from.get(length..).unwrap_or_default();
    }
    line.push_str(rest);
}

/// `r/rrwxr-xr-x`, as `fls` writes it.
fn push_mode(line: &mut String, mode: u32) {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => 'r',
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 'h',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        _ => '-',
    };
    line.extend([kind, '/', kind]);
    for (at, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> at;
        line.push(if bits & 4 == 0 { '-' } else { 'r' });
        line.push(if bits & 2 == 0 { '-' } else { 'w' });
        line.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
}

#[cfg(test)]
#[path = "body_test.rs"]
mod tests;
