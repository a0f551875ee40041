//! Whom the door runs as. `passwd` is parsed by us: a static binary has no name service.

/// The user and group number of `name` in the bytes of a `passwd` file.
pub fn find(passwd: &[u8], name: &[u8]) -> Option<(u32, u32)> {
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        (fields.next()? == name && !name.is_empty()).then_some(())?;
        let _password = fields.next()?;
        Some((number(fields.next()?)?, number(fields.next()?)?))
    })
}

fn number(field: &[u8]) -> Option<u32> {
    str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbad\n:x:5:5::/:\n_afterimage:x:901:902::/:/bin/false\n\
        cut:x:7\nneg:x:-1:1::\nbin\xff:x:2:2::/:\nlast:x:8:9";

    #[test]
    fn users_are_found_by_their_whole_name() {
        assert_eq!(find(PASSWD, b"_afterimage"), Some((901, 902)));
        assert_eq!(find(PASSWD, b"last"), Some((8, 9)));
        for name in ["", "_after", "bad", "cut", "neg", "bin"] {
            assert_eq!(find(PASSWD, name.as_bytes()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_passwd_file_breaks_it(passwd: Vec<u8>, name: Vec<u8>) {
            let _found = find(&passwd, &name);
        }
    }
}
