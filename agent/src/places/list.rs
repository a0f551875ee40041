//! Which directories are watched, and which names in them matter.

use crate::event::touch::Place;

/// A directory, or many.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Its path below the host's root, without a slash at the beginning; a component `*` stands for every directory there.
    pub pattern: &'static str,
    /// Why it is watched.
    pub place: Place,
    /// What matters in it.
    pub names: Names,
}

/// Which names in a directory matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// All.
    All,
    /// These; with none, it is watched for new directories only.
    Only(&'static [&'static str]),
}

impl Names {
    /// Whether `name` matters.
    pub fn matter(self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|known| known.as_bytes() == name),
        }
    }
}

/// Files directly in /etc.
const ETC: Names = Names::Only(&[
    "ld.so.preload",
    "ld.so.conf",
    "passwd",
    "shadow",
    "group",
    "sudoers",
    "profile",
    "crontab",
    "rc.local",
    "environment",
    "bash.bashrc",
    "anacrontab",
    "inittab",
]);
/// Files directly in a home.
const HOME: Names = Names::Only(&[
    ".bashrc",
    ".profile",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".xprofile",
    ".xsessionrc",
]);
const NONE: Names = Names::Only(&[]);

/// Persistence, all names.
const fn all(pattern: &'static str) -> Watched {
    Watched { pattern, place: Place::Persistence, names: Names::All }
}

/// Persistence, some names.
const fn only(pattern: &'static str, names: Names) -> Watched {
    Watched { pattern, place: Place::Persistence, names }
}

const fn log(pattern: &'static str) -> Watched {
    Watched { pattern, place: Place::Log, names: Names::All }
}

/// The list. The order matters where there are too many: the first are watched.
pub const LIST: &[Watched] = &[
    only("etc", ETC),
    all("etc/cron.d"),
    all("etc/cron.hourly"),
    all("etc/cron.daily"),
    all("etc/cron.weekly"),
    all("etc/cron.monthly"),
    all("var/spool/cron"),
    all("var/spool/cron/crontabs"),
    only("etc/systemd", NONE),
    all("etc/systemd/system"),
    all("etc/systemd/system/*"),
    all("etc/systemd/user"),
    all("usr/lib/systemd/system"),
    all("usr/lib/systemd/system-generators"),
    all("etc/init.d"),
    all("etc/ld.so.conf.d"),
    all("etc/profile.d"),
    all("etc/sudoers.d"),
    all("etc/pam.d"),
    only("etc/udev", NONE),
    all("etc/udev/rules.d"),
    all("etc/modules-load.d"),
    only("etc/xdg", NONE),
    all("etc/xdg/autostart"),
    only("etc/apt", NONE),
    all("etc/apt/apt.conf.d"),
    only("root", HOME),
    all("root/.ssh"),
    only("root/.config", NONE),
    only("root/.config/systemd", NONE),
    all("root/.config/systemd/user"),
    all("root/.config/autostart"),
    log("var/log"),
    log("var/log/*"),
    only("home", NONE),
    only("home/*", HOME),
    all("home/*/.ssh"),
    only("home/*/.config", NONE),
    only("home/*/.config/systemd", NONE),
    all("home/*/.config/systemd/user"),
    all("home/*/.config/autostart"),
];

/// Why what stands at an absolute `path` of the host matters, if it does.
pub fn place(path: &[u8]) -> Option<Place> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (folder, name) = (path.get(1..slash)?, path.get(slash + 1..)?);
    let is_it = |watched: &&Watched| is_folder(watched.pattern, folder) && watched.names.matter(name);
    LIST.iter().find(is_it).map(|watched| watched.place)
}

fn is_folder(pattern: &str, folder: &[u8]) -> bool {
    let (mut parts, mut names) = (pattern.split('/'), folder.split(|&byte| byte == b'/'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if part == "*" || part.as_bytes() == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_may_come_later_has_a_watched_parent() {
        for watched in LIST {
            let Some((parent, _)) = watched.pattern.rsplit_once('/') else { continue };
            let is_there_always = ["var", "var/spool", "usr/lib/systemd"].contains(&parent);
            assert!(
                is_there_always || LIST.iter().any(|other| other.pattern == parent),
                "{}",
                watched.pattern
            );
        }
    }

    #[test]
    fn patterns_are_relative_and_plain_and_named_once() {
        for (at, watched) in LIST.iter().enumerate() {
            let mut parts = watched.pattern.split('/');
            assert!(parts.all(|part| !part.is_empty() && part != ".." && part != "."));
            assert!(!LIST[..at].iter().any(|other| other.pattern == watched.pattern), "{}", watched.pattern);
        }
    }

    #[test]
    fn a_path_is_known_by_its_folder_and_name() {
        for (path, expected) in [
            ("/etc/cron.d/x", Some(Place::Persistence)),
            ("/etc/passwd", Some(Place::Persistence)),
            ("/etc/motd", None),
            ("/home/u/.ssh/authorized_keys", Some(Place::Persistence)),
            ("/home/u/.bashrc", Some(Place::Persistence)),
            ("/home/.bashrc", None),
            ("/var/log/nginx/access.log", Some(Place::Log)),
            ("/var/log/a/b/c", None),
            ("/etc", None),
            ("etc/passwd", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(place(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn only_exact_names_matter() {
        assert!(ETC.matter(b"passwd") && !ETC.matter(b"passwd-") && !ETC.matter(b""));
        assert!(Names::All.matter(b"\xff") && !NONE.matter(b"passwd"));
    }
}
