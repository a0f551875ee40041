//! dpkg's database: `status`, `info/*.list`, `info/*.md5sums`, `diversions` (deb-md5sums(5), dpkg-divert(1)).

use std::collections::HashMap;

use super::{Package, Sum, md5};
use crate::text::Bytes;

/// Packages of one host; more are not told.
const PACKAGES_MAX: usize = 200_000;

/// Settings that a package brought: path, sum, package.
pub(crate) type Conffile = (Vec<u8>, Option<Sum>, Vec<u8>);

/// What `status` says: the packages, and the settings they brought.
pub(crate) fn status(text: &[u8]) -> (Vec<Package>, Vec<Conffile>) {
    let (mut packages, mut conffiles) = (Vec::new(), Vec::new());
    let mut paragraph: Vec<&[u8]> = Vec::new();
    for line in text.split(|&byte| byte == b'\n').chain([&b""[..]]) {
        if !line.is_empty() {
            paragraph.push(line);
            continue;
        }
        let lines = std::mem::take(&mut paragraph);
        let get = |key: &[u8]| {
            let value = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(b":"));
            value.unwrap_or_default().trim_ascii().to_vec()
        };
        let name = get(b"Package");
        if name.is_empty() || packages.len() >= PACKAGES_MAX {
            continue;
        }
        conffiles.extend(settings(&lines, &name));
        packages.push(Package {
            manager: "dpkg",
            name: Bytes::from(name),
            version: Bytes::from(get(b"Version")),
            architecture: Bytes::from(get(b"Architecture")),
            state: Bytes::from(get(b"Status")),
        });
    }
    (packages, conffiles)
}

/// ` /etc/x SUM [obsolete]` below `Conffiles:`.
fn settings<'a>(lines: &'a [&[u8]], package: &'a [u8]) -> impl Iterator<Item = Conffile> + 'a {
    let below = lines.iter().skip_while(|line| !line.starts_with(b"Conffiles:")).skip(1);
    below.take_while(|line| line.starts_with(b" ")).filter_map(|line| {
        let mut words = line.trim_ascii().split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let path = words.next().filter(|path| path.starts_with(b"/"))?;
        Some((path.to_vec(), words.next().and_then(md5), package.to_vec()))
    })
}

/// Lines of `NAME.md5sums`: the path from the root on, and the sum.
pub(crate) fn sums(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Sum)> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let (sum, path) = line.split_at_checked(32)?;
        let path = path.strip_prefix(b"  ").or_else(|| path.strip_prefix(b" *"))?;
        let path = path.strip_prefix(b"./").unwrap_or(path);
        (!path.is_empty()).then_some(())?;
        Some(([&b"/"[..], path].concat(), md5(sum)?))
    })
}

/// Of each diverted path, where the others' file lies instead, and which package has the path now (`:` for nobody's).
pub(crate) fn diversions(text: &[u8]) -> HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let (triples, _) = lines.as_chunks::<3>();
    triples.iter().map(|[from, to, package]| (from.to_vec(), (to.to_vec(), package.to_vec()))).collect()
}

/// The package that a file of `info/` is about: `libc6:amd64.list` without its ending and architecture.
pub(crate) fn package<'a>(name: &'a [u8], ending: &[u8]) -> Option<&'a [u8]> {
    let name = name.strip_suffix(ending)?;
    name.split(|&byte| byte == b':').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D41D: &str = "d41d8cd98f00b204e9800998ecf8427e";

    #[test]
    fn packages_and_their_settings_are_read() {
        let text = format!(
            "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: amd64\nConffiles:\n /etc/a {D41D}\n /etc/b newconffile\n /etc/c {D41D} obsolete\n relative {D41D}\nDescription: x\n /etc/no {D41D}\n\n\nPackage: b\nStatus: deinstall ok config-files\n\nVersion: lost\n\nPackage:\n"
        );
        let (packages, conffiles) = status(text.as_bytes());
        let names: Vec<String> = packages.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        assert_eq!(names, ["a 1:2-3", "b "]);
        let paths: Vec<(&[u8], bool)> =
            conffiles.iter().map(|one| (one.0.as_slice(), one.1.is_some())).collect();
        assert_eq!(paths, [(&b"/etc/a"[..], true), (b"/etc/b", false), (b"/etc/c", true)]);
        assert!(packages[1].state.to_string().contains("config-files"));
    }

    #[test]
    fn sums_and_diversions_are_read_and_broken_ones_left_out() {
        let text = format!(
            "{D41D}  usr/bin/x\n{D41D} *./usr/y z\n{D41D}\n{D41D}  \nzz1d8cd98f00b204e9800998ecf8427e  a\nshort  b\n{D41D}\tc\n"
        );
        let paths: Vec<Vec<u8>> = sums(text.as_bytes()).map(|(path, _)| path).collect();
        assert_eq!(paths, [b"/usr/bin/x".to_vec(), b"/usr/y z".to_vec()]);
        let map = diversions(b"/bin/sh\n/bin/sh.distrib\ndash\n/lone\n/two\n");
        assert_eq!(map.len(), 1);
        assert_eq!(map[&b"/bin/sh"[..]].1, b"dash");
        assert_eq!(package(b"libc6:amd64.list", b".list"), Some(&b"libc6"[..]));
        assert_eq!(package(b".list", b".list"), None);
        assert_eq!(package(b"x.md5sums", b".list"), None);
    }

    proptest! {
        #[test]
        fn any_database_is_read(text: Vec<u8>) {
            status(&text);
            diversions(&text);
            prop_assert!(sums(&text).all(|(path, _)| path.starts_with(b"/")));
        }

        #[test]
        fn torn_ones_are_read(parts in prop::collection::vec(prop::sample::select(vec![
            "Package: a", "Conffiles:", " /etc/x ", D41D, "\n", "\n\n", "  ", "Status:", ":",
        ]), 0..40)) {
            let text = parts.concat();
            status(text.as_bytes());
            let _: usize = sums(text.as_bytes()).count();
        }
    }
}
