//! What is kept of the executables that are seen. Pure.

use crate::system::process::Attributes;

/// Places that everybody may write to, or that are gone after a restart.
const TEMPORARY: [&[u8]; 6] = [b"/tmp/", b"/var/tmp/", b"/dev/", b"/run/", b"/var/run/", b"/var/lock/"];
/// Group and others may write.
const WRITABLE: u32 = 0o022;
/// Numbers of systemd's dynamic users (systemd.exec(5), `DynamicUser=`).
const DYNAMIC_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;
/// People's accounts begin here (login.defs(5), `UID_MIN`).
const FIRST_PERSON: u32 = 1_000;

/// What is odd about a file, whoever owns it; one that is odd is always taken, and goes last when the stash is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// It has no name any more, or never had one (a memfd).
    Nameless,
    /// It lies in a place for temporary files.
    Temporary,
    /// Its name, or that of a folder above it, begins with a dot.
    Hidden,
    /// It was written to a short time ago.
    Recent,
}

/// What is odd about it, at the time `now` (seconds since 1970), if anything.
pub(crate) fn odd(path: &[u8], known: &Attributes, now: i64, recent_s: i64) -> Option<Odd> {
    if known.links == 0 {
        return Some(Odd::Nameless);
    }
    if is_temporary(path) {
        return Some(Odd::Temporary);
    }
    let mut names = path.split(|&byte| byte == b'/');
    if names.any(|name| name.starts_with(b".") && name != b"." && name != b"..") {
        return Some(Odd::Hidden);
    }
    // A time to come counts as well: the clock was set back.
    let changed = known.changed().map_or(i64::MAX, |(seconds, _)| seconds);
    (changed > now.saturating_sub(recent_s)).then_some(Odd::Recent)
}

/// Whether it is in a place that everybody may write to, or that is gone after a restart.
pub(crate) fn is_temporary(path: &[u8]) -> bool {
    TEMPORARY.iter().any(|place| path.starts_with(place))
}

/// Whether only root can have written to it.
pub(crate) fn is_roots(known: &Attributes) -> bool {
    known.uid == 0 && known.mode & WRITABLE == 0
}

/// Whether a shared object is worth keeping: where only root can have written, packages and administrators put them.
pub(crate) fn is_odd_library(path: &[u8], known: &Attributes) -> bool {
    let old = i64::MAX;
    !is_roots(known) || odd(path, known, old, 0).is_some()
}

/// Accounts that services run as.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Of people's numbers, those that nobody can log in to.
    closed: Vec<u32>,
}

impl Accounts {
    /// From the bytes of a `passwd` file; broken lines are left out.
    pub fn parse(passwd: &[u8]) -> Self {
        let mut closed: Vec<u32> = passwd.split(|&byte| byte == b'\n').filter_map(closed).collect();
        closed.sort_unstable();
        closed.dedup();
        Self { closed }
    }

    /// Whether it is a service's: below 1,000 but not root, one of systemd's dynamic users, or one without a shell.
    pub fn is_service(&self, uid: u32) -> bool {
        uid != 0
            && (uid < FIRST_PERSON || DYNAMIC_USERS.contains(&uid) || self.closed.binary_search(&uid).is_ok())
    }
}

/// The number of an account that nobody can log in to.
fn closed(line: &[u8]) -> Option<u32> {
    let fields: Vec<&[u8]> = line.splitn(8, |&byte| byte == b':').collect();
    let [_, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
    let shell = shell.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    matches!(shell, b"nologin" | b"false").then(|| str::from_utf8(uid).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn file(links: u32, uid: u32, mode: u32, changed: i64) -> Attributes {
        Attributes {
            device: (8, 1),
            inode: 1,
            links,
            mode: 0o100_000 | mode,
            uid,
            gid: 0,
            size: 1,
            mount: None,
            immutable: false,
            append_only: false,
            times: [None, None, Some((changed, 0)), None],
        }
    }

    #[test]
    fn what_is_odd_is_seen() {
        let old = file(1, 0, 0o755, NOW - 601);
        for (path, known, expected) in [
            ("/usr/bin/ls", old, None),
            ("/usr/bin/ls", file(0, 0, 0o755, NOW - 601), Some(Odd::Nameless)),
            ("/tmp/x", old, Some(Odd::Temporary)),
            ("/dev/shm/x", old, Some(Odd::Temporary)),
            ("/run/user/1000/x", old, Some(Odd::Temporary)),
            ("/usr/tmp/x", old, None),
            ("/home/u/.cache/x", old, Some(Odd::Hidden)),
            ("/usr/bin/.x", old, Some(Odd::Hidden)),
            ("/usr/bin/a.b", old, None),
            ("/usr/bin/ls", file(1, 0, 0o755, NOW - 599), Some(Odd::Recent)),
            ("/usr/bin/ls", file(1, 0, 0o755, NOW + 1000), Some(Odd::Recent)),
        ] {
            assert_eq!(odd(path.as_bytes(), &known, NOW, 600), expected, "{path} {known:?}");
        }
    }

    #[test]
    fn libraries_are_odd_where_others_than_root_can_have_put_them() {
        for (path, known, expected) in [
            ("/usr/lib/a.so", file(1, 0, 0o644, NOW), false),
            ("/usr/lib/a.so", file(1, 1000, 0o644, NOW), true),
            ("/usr/lib/a.so", file(1, 0, 0o666, NOW), true),
            ("/usr/lib/a.so", file(0, 0, 0o644, NOW), true),
            ("/tmp/a.so", file(1, 0, 0o644, NOW), true),
            ("/usr/lib/.a/a.so", file(1, 0, 0o644, NOW), true),
        ] {
            assert_eq!(is_odd_library(path.as_bytes(), &known), expected, "{path} {known:?}");
        }
    }

    #[test]
    fn services_are_told_from_people() {
        let accounts = Accounts::parse(
            b"root:x:0:0::/root:/bin/bash\nwww-data:x:33:33::/var/www:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n\
              u:x:1000:1000::/home/u:/bin/bash\ngit:x:1001:1001::/srv:/bin/false\nbad:x:1002:1002::/srv\nworse\n\
              neg:x:-5:1::/:/bin/false\n",
        );
        for (uid, expected) in [
            (0, false),
            (33, true),
            (65_534, true),
            (1000, false),
            (1001, true),
            (1002, false),
            (61_200, true),
        ] {
            assert_eq!(accounts.is_service(uid), expected, "{uid}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(path: Vec<u8>, passwd: Vec<u8>, links: u32, mode: u32, changed: i64, now: i64) {
            odd(&path, &file(links, 0, mode, changed), now, 600);
            Accounts::parse(&passwd).is_service(mode);
        }
    }
}
