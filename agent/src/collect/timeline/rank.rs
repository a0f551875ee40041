//! What makes a change worth a look, and how much. Pure.

use crate::collect::names::{is_dot, is_hidden, is_usual, misleading, split};
use crate::collect::system::Attributes;
use crate::event::touch::Place;
use crate::places::list::place;

/// What is known of the moment and the host.
#[derive(Debug)]
pub(super) struct Scene {
    /// The trigger, in seconds since 1970.
    pub(super) trigger: i64,
    /// The package manager's last change.
    pub(super) packaged: Option<(i64, u32)>,
}

/// A weight and its reason.
pub(super) type Reason = (i32, &'static str);

/// What a path alone says.
pub(super) fn of_path(path: &[u8]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (_, name) = split(path);
    reasons.extend(misleading(name).into_iter().map(|reason| (4, reason)));
    if is_dot(name) && !is_usual(path) {
        reasons.push((3, "a hidden name"));
    } else if is_hidden(path) {
        reasons.push((1, "in a hidden directory"));
    }
    if is_temporary(path) {
        reasons.push((2, "in a temporary place"));
    }
    match place(path) {
        Some(Place::Persistence) => reasons.push((4, "in a place from which programs are started again")),
        Some(Place::Log) => reasons.push((-1, "a log")),
        None => {}
    }
    reasons
}

/// What its attributes add; `service` is whether a service's account owns it.
pub(super) fn of_file(path: &[u8], file: &Attributes, service: bool, scene: &Scene) -> Vec<Reason> {
    const SET_ID: u32 = 0o6000;
    const DAY: i64 = 86_400;
    let mut reasons = Vec::new();
    let program = file.is_file() && file.mode & 0o111 != 0;
    if program {
        reasons.push((3, "executable"));
        if !holds_programs(path) {
            reasons.push((3, "an executable where programs do not belong"));
        }
        if file.mode & SET_ID != 0 {
            reasons.push((4, "runs with its owner's or group's rights"));
        }
    }
    if path.starts_with(b"/dev/") && !path.starts_with(b"/dev/shm/") && file.is_file() {
        reasons.push((5, "an ordinary file among the devices"));
    }
    if service {
        reasons.push((2, "owned by an account that services run as"));
    }
    let [_, written, changed, born] = file.times.map(|time| time.map(|(seconds, _)| seconds));
    if written.zip(born).is_some_and(|(written, born)| written + DAY < born) {
        reasons.push((1, "written before it was born: copied, unpacked, or its time was set"));
    }
    match changed.map(|changed| scene.trigger - changed) {
        Some(..600) => reasons.push((2, "within ten minutes of the trigger, or after it")),
        Some(600..3600) => reasons.push((1, "within an hour of the trigger")),
        _ => {}
    }
    let packaged = scene.packaged.is_some() && file.changed() <= scene.packaged;
    if file.uid == 0 && packaged && path.starts_with(b"/usr/") {
        reasons.push((-4, "root's, below /usr, and no newer than the package manager's last change"));
    }
    reasons
}

fn is_temporary(path: &[u8]) -> bool {
    [&b"/tmp/"[..], b"/var/tmp/", b"/dev/shm/", b"/run/"].iter().any(|place| path.starts_with(place))
}

/// Where packages, administrators and people put programs.
fn holds_programs(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    let usual: [&[u8]; 11] =
        [b"usr", b"bin", b"sbin", b"lib", b"lib64", b"opt", b"nix", b"snap", b"home", b"root", b"srv"];
    let scripts: [&[u8]; 4] = [b"/etc/init.d/", b"/etc/cron.", b"/etc/kernel/", b"/var/lib/dpkg/info/"];
    usual.contains(&first) || scripts.iter().any(|place| path.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::system::statx;

    fn file(mode: u32, uid: u32, times: [Option<(i64, u32)>; 4]) -> Attributes {
        Attributes { mode, uid, times, ..statx(std::fs::File::open("/").unwrap(), c"").unwrap() }
    }

    fn score(path: &str, file: &Attributes, service: bool) -> i32 {
        let scene = Scene { trigger: 100_000, packaged: Some((50_000, 0)) };
        let all = [of_path(path.as_bytes()), of_file(path.as_bytes(), file, service, &scene)].concat();
        all.iter().map(|(weight, _)| weight).sum()
    }

    #[test]
    fn the_odd_come_before_the_ordinary() {
        let now = [Some((99_000, 0)); 4];
        let program = file(0o100_755, 1001, now);
        let plain = file(0o100_644, 0, now);
        let old = file(0o100_755, 0, [Some((49_000, 0)); 4]);
        let order = [
            score("/tmp/.x/.sshd", &program, true),
            score("/var/tmp/update", &program, false),
            score("/etc/cron.d/update", &plain, false),
            score("/home/u/notes", &plain, false),
            score("/var/log/syslog", &plain, false),
            score("/usr/bin/dash", &old, false),
        ];
        assert!(order.is_sorted_by(|one, two| one > two), "{order:?}");
    }

    #[test]
    fn set_id_programs_and_backdated_files_are_told() {
        let reasons = |path: &[u8], file: &Attributes| {
            let scene = Scene { trigger: 0, packaged: None };
            of_file(path, file, false, &scene).into_iter().map(|(_, words)| words).collect::<Vec<_>>()
        };
        let root = file(0o104_755, 0, [None; 4]);
        assert!(reasons(b"/usr/bin/su", &root).contains(&"runs with its owner's or group's rights"));
        let backdated = file(0o100_644, 0, [None, Some((1, 0)), Some((900_000, 0)), Some((900_000, 0))]);
        assert!(reasons(b"/x", &backdated).iter().any(|words| words.starts_with("written before")));
        assert!(
            reasons(b"/dev/x", &file(0o100_644, 0, [None; 4]))
                .contains(&"an ordinary file among the devices")
        );
        assert_eq!(reasons(b"/dev/shm/x", &file(0o100_644, 0, [None; 4])), Vec::<&str>::new());
    }
}
