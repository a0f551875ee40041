//! Files that even root cannot change until a flag is taken away (chattr(1)): intruders keep theirs in place so.

use super::super::system::Attributes;
use super::finding::Finding;

const IMMUTABLE: &str = "it is immutable: nobody can change or remove it until the flag is taken away";
const APPEND_ONLY: &str =
    "it can be appended to only: nobody can change or remove it until the flag is taken away";

/// Where administrators set these flags, too.
const USUAL: [&[u8]; 3] = [b"/etc/resolv.conf", b"/var/log/", b"/var/empty"];

/// What is odd about its flags. Pure.
pub(super) fn judge(path: &[u8], attributes: &Attributes) -> Option<Finding> {
    let reason = match (attributes.immutable, attributes.append_only) {
        (true, _) => IMMUTABLE,
        (false, true) => APPEND_ONLY,
        (false, false) => return None,
    };
    let usual =
        USUAL.iter().any(|known| path == *known || (known.ends_with(b"/") && path.starts_with(known)));
    (!usual).then(|| {
        let says = format!("immutable {}, append only {}", attributes.immutable, attributes.append_only);
        Finding::new(path, reason).view("statx: attributes", says.as_bytes()).view(
            "statx: mode and owner",
            format!("{:04o}, user {}", attributes.mode & 0o7777, attributes.uid).as_bytes(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::system::statx;
    use super::*;

    fn file(immutable: bool, append_only: bool) -> Attributes {
        let known = statx(std::fs::File::open("/proc/self/exe").unwrap(), c"").unwrap();
        Attributes { immutable, append_only, ..known }
    }

    #[test]
    fn flags_in_odd_places_are_found_and_elsewhere_not() {
        for path in [&b"/etc/cron.d/x"[..], b"/root/.ssh/authorized_keys", b"/usr/bin/x", b"/tmp/x"] {
            assert_eq!(judge(path, &file(true, false)).map(|found| found.reason), Some(IMMUTABLE));
            assert_eq!(judge(path, &file(false, true)).map(|found| found.reason), Some(APPEND_ONLY));
            assert_eq!(judge(path, &file(false, false)), None);
        }
        for path in [&b"/etc/resolv.conf"[..], b"/var/log/audit/audit.log", b"/var/empty"] {
            assert_eq!(judge(path, &file(true, true)), None);
        }
        assert!(judge(b"/var/log", &file(true, false)).is_some());
    }
}
