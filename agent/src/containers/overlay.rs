//! Overlay file systems as `mountinfo` names them: which directory takes what is written, and which lie below it.

use crate::proc::{mounts, unescape};

/// Lower directories of one overlay (the kernel's own limit).
const LOWER_MAX: usize = 500;

/// The directories of an overlay, as whoever mounted it named them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) upper: Vec<u8>,
    /// The topmost first.
    pub(crate) lower: Vec<Vec<u8>>,
}

/// The overlay that is mounted at `point`; whatever was mounted there last counts.
pub(crate) fn at(mountinfo: &[u8], point: &[u8]) -> Option<Overlay> {
    let mut lines = mountinfo.split(|&byte| byte == b'\n').rev();
    let (mount, line) = lines.find_map(|line| {
        let mount = mounts(line).into_iter().next()?;
        (mount.point.as_slice() == point).then_some((mount, line))
    })?;
    let is_overlay = matches!(mount.kind.as_slice(), b"overlay" | b"fuse.fuse-overlayfs");
    is_overlay.then(|| options(line.rsplit(|&byte| byte == b' ').next()?)).flatten()
}

fn options(text: &[u8]) -> Option<Overlay> {
    let mut overlay = Overlay::default();
    for option in split(text, b',') {
        let Some(at) = option.iter().position(|&byte| byte == b'=') else { continue };
        let (key, value) = option.split_at(at);
        let value = unescape(value.get(1..).unwrap_or_default()).0;
        match key {
            b"upperdir" => overlay.upper = plain(&value),
            b"lowerdir" => {
                overlay.lower.extend(split(&value, b':').filter(|path| !path.is_empty()).map(plain));
            }
            b"lowerdir+" => overlay.lower.push(plain(&value)),
            _ => {}
        }
    }
    overlay.lower.truncate(LOWER_MAX);
    (!overlay.upper.is_empty()).then_some(overlay)
}

/// Parts between separators that no backslash stands before.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    text.split(move |&byte| {
        let is_end = byte == separator && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })
}

/// Undoes overlay's own backslashes; the kernel's are undone already.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut bytes = path.iter().copied();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_directories_of_a_root_are_found() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/sda rw\n\
            2 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l/A:/l/B\\134:x:/l/C\\040d,upperdir=/o/1/diff,workdir=/o/1/work\n\
            3 2 0:51 / /proc rw - proc proc rw\n";
        let overlay = at(text, b"/").unwrap();
        assert_eq!(overlay.upper, b"/o/1/diff");
        assert_eq!(overlay.lower, [&b"/l/A"[..], b"/l/B:x", b"/l/C d"]);
    }

    #[test]
    fn what_is_no_overlay_or_cannot_be_written_is_none() {
        for line in [
            "",
            "broken",
            "2 1 0:50 / / rw - ext4 overlay rw,upperdir=/a",
            "2 1 0:50 / / ro - overlay overlay ro,lowerdir=/a:/b",
            "2 1 0:50 / /x rw - overlay overlay rw,upperdir=/a",
            "2 1 0:50 / / rw - overlay overlay rw,upperdir=",
            // Something else was laid over it.
            "2 1 0:50 / / rw - overlay overlay rw,upperdir=/a\n3 2 0:51 / / rw - tmpfs tmpfs rw",
        ] {
            assert_eq!(at(line.as_bytes(), b"/"), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_options_are_read(bytes: Vec<u8>) {
            options(&bytes);
            at(&[&b"2 1 0:50 / / rw - overlay o "[..], &bytes].concat(), b"/");
        }
    }
}
