use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// A small host.
fn host() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in [
        "etc/cron.d/a",
        "etc/cron.d/.b",
        "etc/x/1/2/3/4/deep",
        "home/u/.ssh/id",
        "root/.ssh/id",
        "usr/lib/units/s",
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"x").unwrap();
    }
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/usr/lib/units/s", root.join("etc/x/enabled")).unwrap();
    symlink("/nowhere", root.join("etc/x/dangling")).unwrap();
    symlink("/", root.join("etc/x/round")).unwrap();
    std::fs::create_dir(root.join("tmp")).unwrap();
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("/etc/cron.d/a", root.join("tmp/trap")).unwrap();
    folder
}

fn walker(root: &Path, entries: usize) -> Walker {
    Walker::new(root, Path::new("/proc"), entries, Instant::now() + Duration::from_mins(1))
}

fn found(walker: &mut Walker, pattern: &str) -> Vec<String> {
    let homes = [b"/root".to_vec(), b"/home/u".to_vec(), b"/home/gone".to_vec()];
    let mut matching = Matching::new(walker, &homes);
    matching.look(&Pattern::parse(pattern.as_bytes()).unwrap());
    matching.found.keys().map(|path| String::from_utf8(path.clone()).unwrap()).collect()
}

#[test]
fn patterns_match_below_the_root_as_published() {
    let host = host();
    for (pattern, paths) in [
        ("/etc/cron.d/*", &["/etc/cron.d/.b", "/etc/cron.d/a"][..]),
        ("/etc/cron.d/a", &["/etc/cron.d/a"]),
        ("/etc/c*.?/[ab]", &["/etc/cron.d/a"]),
        ("/lib/units/*", &["/usr/lib/units/s"]),
        ("%%users.homedir%%/.ssh/*", &["/home/u/.ssh/id", "/root/.ssh/id"]),
        ("/etc/x/**", &["/usr/lib/units/s"]),
        ("/etc/x/**5", &["/etc/x/1/2/3/4/deep", "/usr/lib/units/s"]),
        ("/etc/**4/deep", &[]),
        ("/etc/**5/deep", &["/etc/x/1/2/3/4/deep"]),
        ("/tmp/*", &[]),
        ("/nothing/*/x", &[]),
        ("/etc/cron.d/a/*", &[]),
        ("/etc/x/1", &["/etc/x/1"]),
    ] {
        let mut walker = walker(host.path(), 1000);
        assert_eq!(found(&mut walker, pattern), paths, "{pattern}");
        assert!(walker.lacks.is_empty());
    }
}

#[test]
fn links_are_told_and_those_that_anybody_could_have_laid_are_refused() {
    let host = host();
    let mut walker = walker(host.path(), 1000);
    let mut matching = Matching::new(&mut walker, &[]);
    matching.look(&Pattern::parse(b"/etc/x/*").unwrap());
    matching.look(&Pattern::parse(b"/tmp/*").unwrap());
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let links: Vec<(String, String)> =
        matching.links.iter().map(|(path, target)| (text(path), text(target))).collect();
    let link = |path: &str, target: &str| (path.to_owned(), target.to_owned());
    assert_eq!(
        links,
        [
            link("/etc/x/dangling", "/nowhere"),
            link("/etc/x/enabled", "/usr/lib/units/s"),
            link("/etc/x/round", ""),
            link("/tmp/trap", "/etc/cron.d/a"),
        ]
    );
    let refused: Vec<_> =
        matching.refused.into_iter().map(|(path, miss)| (text(&path), miss.outcome)).collect();
    assert_eq!(refused, [("/tmp/trap".to_owned(), Outcome::Refused)]);
}

#[test]
fn the_bound_of_entries_ends_a_search_and_is_said() {
    let host = host();
    let mut walker = walker(host.path(), 2);
    assert!(found(&mut walker, "/etc/**9").len() <= 2);
    assert_eq!(walker.miss().unwrap().outcome, Outcome::Partial);
}
