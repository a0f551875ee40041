//! Whose homes there are, by `/etc/passwd`: a static binary has no name service.

use super::file;
use super::walk::Walker;
use crate::accounts;

const TEXT_MAX: u64 = 16 << 20;
/// Homes that are looked at.
const HOMES_MAX: usize = 1_000;

/// One account's name, number and home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: Vec<u8>,
    pub(super) uid: u32,
    pub(super) home: Vec<u8>,
}

/// The bytes of the file, as far as they can be had.
pub(super) fn text(walker: &Walker) -> Vec<u8> {
    let text = walker.find(b"/etc/passwd").and_then(|entry| file::text(&entry.fd, &walker.remote, TEXT_MAX));
    text.unwrap_or_default().0
}

/// The accounts with a home.
pub(super) fn users(walker: &Walker) -> Vec<User> {
    with_home(&text(walker))
}

/// Those whose home is worth a look of its own.
pub(super) fn homes(walker: &Walker) -> Vec<User> {
    let mut users = users(walker);
    // Homes such as /bin, /usr/sbin, /run/x or /dev are areas already.
    let system: [&[u8]; 9] =
        [b"bin", b"sbin", b"usr", b"dev", b"run", b"etc", b"proc", b"sys", b"nonexistent"];
    users.retain(|user| {
        let first = user.home.split(|&byte| byte == b'/').find(|part| !part.is_empty());
        !first.is_some_and(|first| system.contains(&first))
    });
    users.sort_by(|one, two| one.home.cmp(&two.home));
    users.dedup_by(|one, two| one.home == two.home);
    users.truncate(HOMES_MAX);
    users
}

/// The accounts with an absolute home; broken lines are left out.
fn with_home(text: &[u8]) -> Vec<User> {
    let users = accounts::passwd(text).map(|account| User {
        name: account.name.0,
        uid: account.uid,
        home: account.home.0,
    });
    users.filter(|user| user.home.starts_with(b"/") && user.home != b"/").collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn homes_are_found_and_broken_lines_left_out() {
        let text = b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n\
            a:x:1:1:::\nb:x:-1:1::/b:\n+::::::\n#c\nd:x:3:3::/:/bin/sh\ne:x:4:4::e:/bin/sh\nf:x:5:5::/f:/x:y\n\n";
        let homes: Vec<(u32, String)> = with_home(text)
            .into_iter()
            .map(|user| (user.uid, String::from_utf8(user.home).unwrap()))
            .collect();
        assert_eq!(homes, [(0, "/root".to_owned()), (65534, "/nonexistent".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(text: Vec<u8>) {
            with_home(&text);
        }
    }
}
