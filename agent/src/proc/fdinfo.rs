//! `/proc/PID/fdinfo/N`: `name:\tvalue` lines (proc(5)).

use super::decimal;

/// What the kernel says of one open descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// Position in the file.
    pub position: u64,
    /// The flags it was opened with (`O_*`, octal in the text).
    pub flags: u32,
    /// The mount it is on.
    pub mount: Option<u32>,
    /// Inode number (since 5.14).
    pub inode: Option<u64>,
}

impl FdInfo {
    /// Reads what there is; what is missing or broken stays empty.
    pub fn parse(text: &[u8]) -> Self {
        let value = |key: &[u8]| {
            text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key)).map(<[u8]>::trim_ascii)
        };
        let octal = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        Self {
            position: value(b"pos:").and_then(decimal).unwrap_or_default(),
            flags: value(b"flags:").and_then(octal).unwrap_or_default(),
            mount: value(b"mnt_id:").and_then(decimal),
            inode: value(b"ino:").and_then(decimal),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lines_are_found_in_any_order_and_broken_ones_are_empty() {
        let text = b"pos:\t42\nflags:\t02100002\nmnt_id:\t15\nino:\t9057\neventfd-count: 1\n";
        let expected = FdInfo { position: 42, flags: 0o2_100_002, mount: Some(15), inode: Some(9057) };
        assert_eq!(FdInfo::parse(text), expected);
        for text in [&b""[..], b"pos:", b"pos:\t-1\nflags:\t9\nmnt_id: x\n", b"\xff\0"] {
            assert_eq!(FdInfo::parse(text), FdInfo::default());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            FdInfo::parse(&bytes);
        }
    }
}
