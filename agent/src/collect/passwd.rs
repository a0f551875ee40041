//! `/etc/passwd`, parsed by ourselves: a static binary has no name service. Pure.

/// Accounts of one host; more are not looked at.
const USERS_MAX: usize = 100_000;

/// One account's name, number and home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: Vec<u8>,
    pub(super) uid: u32,
    pub(super) home: Vec<u8>,
}

/// The accounts with an absolute home; broken lines are left out.
pub(super) fn users(text: &[u8]) -> Vec<User> {
    text.split(|&byte| byte == b'\n').filter_map(user).take(USERS_MAX).collect()
}

fn user(line: &[u8]) -> Option<User> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
    let [name, _, uid, _, _, home, _] = fields.as_slice() else { return None };
    let uid = std::str::from_utf8(uid).ok()?.parse().ok()?;
    (home.starts_with(b"/") && *home != b"/").then(|| User { name: name.to_vec(), uid, home: home.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn homes_are_found_and_broken_lines_left_out() {
        let text = b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n\
            a:x:1:1:::\nb:x:-1:1::/b:\n+::::::\n#c\nd:x:3:3::/:/bin/sh\ne:x:4:4::e:/bin/sh\nf:x:5:5::/f:/x:y\n\n";
        let homes: Vec<(u32, String)> =
            users(text).into_iter().map(|user| (user.uid, String::from_utf8(user.home).unwrap())).collect();
        assert_eq!(homes, [(0, "/root".to_owned()), (65534, "/nonexistent".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(text: Vec<u8>) {
            users(&text);
        }
    }
}
