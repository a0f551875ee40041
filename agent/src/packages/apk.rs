//! Alpine's database, `/lib/apk/db/installed` (apk-v2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Package, Record, Sum};
use crate::text::Bytes;

/// Packages, and files of all of them; more are not told.
const PACKAGES_MAX: usize = 200_000;

/// The packages, and the files that `is_wanted`.
pub(crate) fn installed(
    text: &[u8],
    is_wanted: impl Fn(&[u8]) -> bool,
) -> (Vec<Package>, Vec<(Vec<u8>, Record)>) {
    let (mut packages, mut files) = (Vec::new(), Vec::new());
    let mut package = empty();
    let mut folder: &[u8] = b"";
    let mut last_is_wanted = false;
    for line in text.split(|&byte| byte == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            let done = std::mem::replace(&mut package, empty());
            if !done.name.is_empty() && packages.len() < PACKAGES_MAX {
                packages.push(done);
            }
            continue;
        }
        let Some((&[key, b':'], value)) = line.split_first_chunk::<2>() else { continue };
        match key {
            b'P' => package.name = Bytes::from(value),
            b'V' => package.version = Bytes::from(value),
            b'A' => package.architecture = Bytes::from(value),
            b'F' => folder = value,
            b'R' => {
                let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
                let path = [&b"/"[..], folder, slash, value].concat();
                last_is_wanted = is_wanted(&path);
                if last_is_wanted {
                    files.push((path, Record { package: package.name.as_slice().to_vec(), sum: None }));
                }
            }
            b'Z' if last_is_wanted => {
                if let Some((_, record)) = files.last_mut() {
                    record.sum = sha1(value);
                }
            }
            _ => {}
        }
    }
    (packages, files)
}

fn empty() -> Package {
    let none = || Bytes::from("");
    Package {
        manager: "apk",
        name: none(),
        version: none(),
        architecture: none(),
        state: Bytes::from("installed"),
    }
}

/// `Q1` and base64.
fn sha1(text: &[u8]) -> Option<Sum> {
    let bytes = STANDARD.decode(text.strip_prefix(b"Q1")?).ok()?;
    Some(Sum::Sha1(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packages_and_wanted_files_are_read() {
        let text = "P:busybox\nV:1.36-r0\nA:x86_64\nF:bin\nR:busybox\na:0:0:755\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nR:other\nZ:Q1zz\nF:\nR:top\n\n\
            V:lost\nZ:Q1\nR\n:\n\nP:last\n";
        let (packages, files) = installed(text.as_bytes(), |path| path != b"/bin/other");
        let names: Vec<String> = packages.iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["busybox", "last"]);
        let found: Vec<(&[u8], bool)> =
            files.iter().map(|(path, one)| (path.as_slice(), one.sum.is_some())).collect();
        assert_eq!(found, [(&b"/bin/busybox"[..], true), (b"/top", false)]);
    }

    #[test]
    fn broken_sums_are_none() {
        for text in ["", "Q1", "Q2AAAA", "Q1AAAA", "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "Q1%%"] {
            assert_eq!(sha1(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_database_is_read(text: Vec<u8>) {
            installed(&text, |_| true);
        }

        #[test]
        fn torn_ones_are_read(parts in prop::collection::vec(prop::sample::select(vec![
            "P:", "F:", "R:", "Z:", "Q1", "AAAA", "\n", "\n\n", "a", ":",
        ]), 0..40)) {
            let text = parts.concat();
            installed(text.as_bytes(), |path| path.len() % 2 == 0);
        }
    }
}
