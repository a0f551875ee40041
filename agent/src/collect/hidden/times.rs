//! Times that were set by hand. Whoever unpacks or copies a file keeps its time of change, so that most files on a host are
//! older than their birth on it: only programs that no package brought, in places where none but packages put them or
//! anybody can write, are accused of that; and everything that was changed after its last change, so to speak.

use super::super::names::is_hidden;
use super::super::system::Attributes;
use super::finding::Finding;

/// Archives have times of other time zones, and machines' clocks are set.
const AHEAD_S: i64 = 26 * 3600;
/// A file that is copied, or made and then given a time, is not older than its birth by so much unless that is kept or set.
const OLDER_S: i64 = 3600;

const AHEAD: &str = "its time of change was set to a later one than when that was done";
const BACK: &str =
    "a program that no package brought, whose time of change was set to long before it came here";

/// Where programs come from packages, or should not be.
const PROGRAMS: &[&[u8]] =
    &[b"/usr/bin/", b"/usr/sbin/", b"/etc/", b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/"];

/// What is odd about a file's times; `packaged` says whether a package brought it, and is asked last. Pure, but for that.
pub(super) fn judge(
    path: &[u8],
    attributes: &Attributes,
    packaged: &mut dyn FnMut() -> bool,
) -> Option<Finding> {
    let [_, modified, changed, born] = attributes.times;
    let (modified, changed) = (modified?, changed?);
    if !attributes.is_file() {
        return None;
    }
    let reason = if modified.0 > changed.0.saturating_add(AHEAD_S) {
        AHEAD
    } else if attributes.mode & 0o111 != 0
        && is_set_back(modified, changed, born)
        && is_place_of_programs(path)
    {
        BACK
    } else {
        return None;
    };
    (!packaged()).then(|| {
        let says = |time: Option<(i64, u32)>| {
            time.map_or_else(
                || "unknown".to_owned(),
                |(seconds, nanoseconds)| {
                    i32::try_from(nanoseconds)
                        .ok()
                        .and_then(|nanoseconds| jiff::Timestamp::new(seconds, nanoseconds).ok())
                        .map_or_else(|| format!("{seconds}.{nanoseconds:09}"), |time| time.to_string())
                },
            )
        };
        Finding::new(path, reason)
            .view("statx: content changed (anybody can set it)", says(Some(modified)).as_bytes())
            .view("statx: inode changed (nobody can)", says(Some(changed)).as_bytes())
            .view("statx: born (nobody can)", says(born).as_bytes())
    })
}

/// `touch -d` and the like give whole seconds, and leave the inode's own times, which have parts of a second.
fn is_set_back(modified: (i64, u32), changed: (i64, u32), born: Option<(i64, u32)>) -> bool {
    let came = born.unwrap_or(changed);
    modified.0 < came.0.saturating_sub(OLDER_S) && modified.1 == 0 && changed.1 != 0
}

fn is_place_of_programs(path: &[u8]) -> bool {
    is_hidden(path) || PROGRAMS.iter().any(|place| path.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::super::super::system::statx;
    use super::*;

    const NOW: (i64, u32) = (1_700_000_000, 123_456_789);
    const OLD: (i64, u32) = (1_500_000_000, 0);

    fn file(mode: u32, modified: (i64, u32), changed: (i64, u32), born: Option<(i64, u32)>) -> Attributes {
        let known = statx(std::fs::File::open("/proc/self/exe").unwrap(), c"").unwrap();
        let times = [None, Some(modified), Some(changed), born];
        Attributes { mode: libc::S_IFREG | mode, times, ..known }
    }

    fn reason(path: &str, attributes: &Attributes, packaged: bool) -> Option<&'static str> {
        judge(path.as_bytes(), attributes, &mut || packaged).map(|found| found.reason)
    }

    #[test]
    fn times_set_by_hand_are_found() {
        let program = file(0o755, OLD, NOW, Some(NOW));
        for path in ["/usr/bin/x", "/etc/cron.daily/x", "/tmp/x", "/home/u/.cache/x", "/dev/shm/x"] {
            assert_eq!(reason(path, &program, false), Some(BACK), "{path}");
        }
        assert_eq!(reason("/usr/bin/x", &file(0o755, OLD, NOW, None), false), Some(BACK));
        let ahead = file(0o644, (NOW.0 + 200_000, 0), NOW, Some(NOW));
        assert_eq!(reason("/srv/x", &ahead, false), Some(AHEAD));
    }

    #[test]
    fn files_that_were_unpacked_copied_or_made_are_not() {
        for (path, attributes, packaged) in [
            // A package's, on a host that was installed later.
            ("/usr/bin/x", file(0o755, OLD, NOW, Some(NOW)), true),
            ("/usr/bin/x", file(0o755, (NOW.0 + 200_000, 0), NOW, Some(NOW)), true),
            // Of a person or of an archive.
            ("/usr/local/bin/x", file(0o755, OLD, NOW, Some(NOW)), false),
            ("/opt/node/bin/node", file(0o755, OLD, NOW, Some(NOW)), false),
            ("/home/u/bin/x", file(0o755, OLD, NOW, Some(NOW)), false),
            ("/etc/passwd-", file(0o644, OLD, NOW, Some(NOW)), false),
            // Copied with its time, to the nanosecond.
            ("/tmp/x", file(0o755, (OLD.0, 5), NOW, Some(NOW)), false),
            // Made here, and changed then.
            ("/tmp/x", file(0o755, NOW, NOW, Some(NOW)), false),
            ("/tmp/x", file(0o755, (NOW.0 - 60, 0), NOW, Some(NOW)), false),
            ("/usr/bin/x", file(0o755, OLD, (OLD.0 + 100, 5), Some(OLD)), false),
            ("/srv/x", file(0o644, (NOW.0 + 1, 0), NOW, Some(NOW)), false),
            ("/srv/x", file(0o644, (NOW.0 + 9 * 3600, 0), NOW, Some(NOW)), false),
            // An image that was made with whole seconds everywhere.
            ("/usr/bin/x", file(0o755, OLD, (NOW.0, 0), Some(NOW)), false),
        ] {
            assert_eq!(reason(path, &attributes, packaged), None, "{path} {attributes:?}");
        }
        let folder = Attributes { mode: libc::S_IFDIR | 0o755, ..file(0, (NOW.0 + 200_000, 0), NOW, None) };
        assert_eq!(reason("/tmp/x", &folder, false), None);
        let unknown = Attributes { times: [None; 4], ..folder };
        assert_eq!(reason("/tmp/x", &unknown, false), None);
    }
}
