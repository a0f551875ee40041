use proptest::prelude::*;

use super::*;

fn libraries(of: &[(&str, &[u32])]) -> Libraries {
    of.iter().map(|(path, pids)| (Bytes::from(*path), pids.iter().copied().collect())).collect()
}

fn names(of: &[&str]) -> BTreeSet<Bytes> {
    of.iter().map(|name| Bytes::from(*name)).collect()
}

fn found(
    asked: &[(&str, &[u32])],
    listed: &[&str],
    mapped: &[(&str, &[u32])],
) -> Vec<(String, &'static str)> {
    let mut packaged = |path: &[u8]| path.starts_with(b"/usr/lib/");
    let all = judge(&libraries(asked), &names(listed), &libraries(mapped), &mut packaged);
    all.iter().map(|one| (one.object.to_string(), one.reason)).collect()
}

#[test]
fn what_no_package_brought_is_found() {
    assert_eq!(found(&[("/tmp/h.so", &[7])], &[], &[]), [("/tmp/h.so".to_owned(), IN_ENVIRONMENT)]);
    assert_eq!(
        found(&[("h.so", &[7])], &[], &[("/usr/local/lib/h.so", &[7])]),
        [("/usr/local/lib/h.so".to_owned(), IN_ENVIRONMENT)]
    );
    assert_eq!(
        found(&[], &["/lib/h.so"], &[("/tmp/h.so (deleted)", &[1, 2])]),
        [("/tmp/h.so (deleted)".to_owned(), IN_LIST)]
    );
    assert_eq!(found(&[], &["/lib/libselinux.so.8"], &[]), [("/lib/libselinux.so.8".to_owned(), IN_LIST)]);
}

#[test]
fn a_packages_file_of_the_same_name_hides_none() {
    let mapped = [("/usr/lib/libz.so.1", &[1, 7][..]), ("/var/tmp/libz.so.1", &[7][..])];
    let evil = |reason| [("/var/tmp/libz.so.1".to_owned(), reason)];
    assert_eq!(found(&[("/var/tmp/libz.so.1", &[7])], &[], &mapped), evil(IN_ENVIRONMENT));
    assert_eq!(found(&[("libz.so.1", &[7])], &[], &mapped), evil(IN_ENVIRONMENT));
    assert_eq!(found(&[], &["/var/tmp/libz.so.1"], &mapped), evil(IN_LIST));
    // And the other way round: what is asked for is the package's.
    assert_eq!(found(&[("/usr/lib/libz.so.1", &[7])], &[], &mapped), []);
}

#[test]
fn what_a_package_brought_or_nobody_loads_is_not() {
    for (asked, listed, mapped) in [
        (&[][..], &[][..], &[][..]),
        (&[("/usr/lib/libjemalloc.so.2", &[7][..])], &[], &[("/usr/lib/libjemalloc.so.2", &[7][..])]),
        (&[("libgtk3-nocsd.so.0", &[7])], &[], &[("/usr/lib/x86_64-linux-gnu/libgtk3-nocsd.so.0", &[7])]),
        // No such library: the loader goes on without it.
        (&[("libgtk3-nocsd.so.0", &[7])], &[], &[]),
        (&[], &["/usr/lib/libsnoopy.so"], &[]),
        (&[], &[], &[("/tmp/h.so", &[7])]),
        (&[("$LIB/libfaketime.so.1", &[7])], &[], &[]),
    ] {
        assert_eq!(found(asked, listed, mapped), [], "{asked:?} {listed:?} {mapped:?}");
    }
}

#[test]
fn environments_and_the_list_are_read_as_the_loader_does() {
    let environment =
        b"PATH=/bin\0LD_PRELOAD=/a.so:/b.so c.so\0LD_AUDIT=/d.so\0XLD_PRELOAD=/no.so\0LD_PRELOADX=/no.so\0";
    assert_eq!(in_environment(environment), names(&["/a.so", "/b.so", "c.so", "/d.so"]));
    for text in [
        &b""[..],
        b"LD_PRELOAD",
        b"LD_PRELOAD=\0",
        b"LD_PRELOAD= : \0",
        b"ld_preload=/a.so",
        b"A=LD_PRELOAD=/a.so",
    ] {
        assert_eq!(in_environment(text), names(&[]), "{}", text.escape_ascii());
    }
    assert_eq!(
        in_list(b"/a.so /b.so:c.so # /no.so\n\t/d.so\n#/no.so"),
        names(&["/a.so", "/b.so", "c.so", "/d.so"])
    );
    for text in [&b""[..], b"\n\n", b"# /a.so", b"   \t", b":::"] {
        assert_eq!(in_list(text), names(&[]), "{}", text.escape_ascii());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        in_environment(&bytes);
        in_list(&bytes);
    }
}
