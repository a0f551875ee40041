use super::*;

fn names(of: &[&str]) -> BTreeSet<Vec<u8>> {
    of.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn look(of: &[&str], folders: u32, links: [u32; 2]) -> Look {
    Look { names: names(of), folders, whole: true, links }
}

#[test]
fn a_subdirectory_that_is_counted_and_not_listed_is_found() {
    let found = uncounted(b"/tmp", &[look(&["a"], 1, [4, 4]), look(&["a"], 1, [4, 4])]).unwrap();
    assert_eq!((found.object, found.reason), (Bytes::from("/tmp"), COUNT));
}

#[test]
fn directories_that_change_or_do_not_count_are_not() {
    for looks in [
        [look(&["a"], 1, [3, 3]), look(&["a"], 1, [3, 3])],
        // One was made or removed in between.
        [look(&["a"], 1, [4, 3]), look(&["a"], 1, [3, 3])],
        [look(&["a"], 1, [4, 4]), look(&["a"], 1, [3, 3])],
        [look(&["a"], 1, [3, 4]), look(&["a", "b"], 2, [4, 4])],
        [look(&["a"], 1, [4, 4]), look(&["a", "b"], 2, [4, 4])],
        // Too many to be counted, or not counted at all.
        [look(&["a"], 1, [1, 1]), look(&["a"], 1, [1, 1])],
        [look(&["a"], 9, [2, 2]), look(&["a"], 9, [2, 2])],
        [Look::default(), Look::default()],
        [Look { whole: false, ..look(&["a"], 1, [4, 4]) }, look(&["a"], 1, [4, 4])],
    ] {
        assert_eq!(uncounted(b"/tmp", &looks), None, "{looks:?}");
    }
}

#[test]
fn a_name_that_only_the_disk_has_is_found() {
    let looks = || (names(&["a", "evil"]), look(&["a"], 0, [2, 2]));
    let found = hidden(b"/etc", &looks(), &looks());
    assert_eq!(found.iter().map(|one| one.object.clone()).collect::<Vec<_>>(), [Bytes::from("/etc/evil")]);
    assert_eq!(hidden(b"/", &looks(), &looks())[0].object, Bytes::from("/evil"));
}

#[test]
fn names_that_come_and_go_are_not() {
    let of = |disk: &[&str], listed: &[&str]| (names(disk), look(listed, 0, [2, 2]));
    for (first, second) in [
        // Removed: the disk has it no longer when it is looked at again.
        (of(&["a", "x"], &["a"]), of(&["a"], &["a"])),
        // Made and removed again and again.
        (of(&["a", "x"], &["a"]), of(&["a", "x"], &["a", "x"])),
        (of(&["a", "x1"], &["a"]), of(&["a", "x2"], &["a"])),
        (of(&["a"], &["a", "new"]), of(&["a"], &["a", "new"])),
        (of(&[], &[]), of(&[], &[])),
        (of(&["a"], &["a"]), of(&["a"], &["a"])),
        (of(&["a", "x"], &["a"]), (names(&["a", "x"]), Look::default())),
    ] {
        assert_eq!(hidden(b"/tmp", &first, &second), [], "{first:?} {second:?}");
    }
}

#[test]
fn a_path_is_followed_into_the_file_system_that_is_mounted() {
    let mount = |root: &str, point: &str| {
        mounts(format!("9 1 8:1 {root} {point} rw - ext4 x rw").as_bytes()).remove(0)
    };
    for (root, point, host, path, expected) in [
        ("/", "/", "/", "/etc", Some("/etc")),
        ("/", "/", "/", "/", Some("/")),
        ("/", "/home", "/", "/home", Some("/")),
        ("/", "/home", "/", "/home/u", Some("/u")),
        ("/@sub", "/home", "/", "/home/u", Some("/@sub/u")),
        ("/", "/host", "/host", "/etc", Some("/etc")),
        ("/", "/home", "/", "/etc", None),
    ] {
        let found = on_file_system(&mount(root, point), Path::new(host), path.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{root} {point} {path}");
    }
}
