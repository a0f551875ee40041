//! `/proc/PID/maps` and `smaps`: one line per mapping. A path may hold spaces and anything else but a newline (the
//! kernel writes that as `\012`); an anonymous mapping ends after the inode number.

use std::collections::HashSet;

use super::decimal;
use crate::text::Bytes;

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub exec: bool,
    /// Shared rather than private.
    pub shared: bool,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Device of the file, major and minor.
    pub device: (u32, u32),
    /// Inode of the file, 0 for none.
    pub inode: u64,
    /// The file, or a name in brackets; empty for plain anonymous memory. May end in ` (deleted)`.
    pub path: Bytes,
}

/// The mappings that `text` (of `maps` or `smaps`) lists, in its order; other lines are passed over.
pub fn mappings(text: &[u8]) -> Vec<Mapping> {
    text.split(|&byte| byte == b'\n').filter_map(mapping).collect()
}

/// The first addresses of mappings that `smaps` marks as device memory (`io`, `pf`): reading these can harm.
pub fn device_memory(smaps: &[u8]) -> HashSet<u64> {
    let mut found = HashSet::new();
    let mut current = None;
    for line in smaps.split(|&byte| byte == b'\n') {
        if let Some(mapping) = mapping(line) {
            current = Some(mapping.start);
        } else if let Some(flags) = line.strip_prefix(b"VmFlags:")
            && flags.split(u8::is_ascii_whitespace).any(|flag| matches!(flag, b"io" | b"pf"))
        {
            found.extend(current);
        }
    }
    found
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (start, end) = pair(fields.next()?, b'-')?;
    let &[read, write, exec, shared] = fields.next()? else { return None };
    let offset = hexadecimal(fields.next()?)?;
    let (major, minor) = pair(fields.next()?, b':')?;
    let inode = decimal(fields.next()?)?;
    let path = fields.next().unwrap_or_default();
    let spaces = path.iter().take_while(|&&byte| byte == b' ').count();
    (start < end).then_some(Mapping {
        start,
        end,
        read: read == b'r',
        write: write == b'w',
        exec: exec == b'x',
        shared: shared == b's',
        offset,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode,
        path: Bytes::from(path.get(spaces..).unwrap_or_default()),
    })
}

fn pair(field: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = field.iter().position(|&byte| byte == separator)?;
    Some((hexadecimal(field.get(..at)?)?, hexadecimal(field.get(at + 1..)?)?))
}

/// The number that hexadecimal `digits` are, whole.
pub(super) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    plain.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anonymous_mappings_names_with_spaces_and_deleted_files_are_read() {
        let text = b"00400000-00401000 r-xp 00002000 fd:01 42     /tmp/a b (deleted)\n\
            7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
            7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n\
            7f1000000000-7f1000001000 ---s 00000000 00:01 7 /memfd:x\\012y (deleted)\n";
        let all = mappings(text);
        assert_eq!(all.len(), 4);
        assert_eq!((all[0].start, all[0].end, all[0].offset), (0x40_0000, 0x40_1000, 0x2000));
        assert_eq!((all[0].device, all[0].inode), ((0xfd, 1), 42));
        assert_eq!(all[0].path, Bytes::from("/tmp/a b (deleted)"));
        assert!(all[0].read && all[0].exec && !all[0].write && !all[0].shared);
        assert!(all[1].path.is_empty() && all[1].inode == 0);
        assert_eq!(all[2].path, Bytes::from("[stack]"));
        assert!(all[3].shared && !all[3].read);
    }

    #[test]
    fn broken_lines_are_left_out() {
        for line in [
            "",
            "-",
            "1-2",
            "2-1 rwxp 0 0:0 0 ",
            "1-1 rwxp 0 0:0 0 ",
            "0x1-2 rwxp 0 0:0 0 ",
            "1-2 rwx 0 0:0 0",
            "1-2 rwxp z 0:0 0",
            "1-2 rwxp 0 00 0",
            "1-2 rwxp 0 0:0 -1",
            "1-fffffffffffffffff rwxp 0 0:0 0",
            "Size:                  4 kB",
        ] {
            assert_eq!(mappings(line.as_bytes()), [], "{line}");
        }
    }

    #[test]
    fn device_memory_is_found_by_its_flags() {
        let text = b"1000-2000 rw-s 0 00:05 9 /dev/x\nRss: 4 kB\nVmFlags: rd wr sh io de\n\
            3000-4000 rw-p 0 00:00 0 \nVmFlags: rd wr ac\n5000-6000 rw-p 0 0:0 0 [anon:io]\nVmFlags: rd\n";
        assert_eq!(device_memory(text), HashSet::from([0x1000]));
        assert_eq!(device_memory(b"VmFlags: io\n"), HashSet::new());
    }

    #[test]
    fn our_own_are_read() {
        let read = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap();
        let (mut text, mut details) = (read("maps"), read("smaps"));
        // The tests beside this one map and unmap: the two must be of the same moment.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while text != read("maps") {
            assert!(std::time::Instant::now() < deadline, "our mappings never stay the same");
            (text, details) = (read("maps"), read("smaps"));
        }
        let lines = String::from_utf8(text.clone()).unwrap().lines().count();
        assert_eq!(mappings(&text).len(), lines);
        assert_eq!(mappings(&details).len(), lines);
    }

    proptest! {
        #[test]
        fn any_bytes_give_ordered_ranges(bytes: Vec<u8>) {
            prop_assert!(mappings(&bytes).iter().all(|mapping| mapping.start < mapping.end));
            device_memory(&bytes);
        }

        #[test]
        fn a_path_comes_back(path in "/[^\n]{0,80}") {
            let line = format!("1000-2000 r--p 00000000 08:01 77 {path}\n");
            prop_assert_eq!(&mappings(line.as_bytes())[0].path, &Bytes::from(&path));
        }
    }
}
