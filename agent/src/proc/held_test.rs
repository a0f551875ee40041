use proptest::prelude::*;

use super::*;

const HEAD: &str = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n";

fn parse(target: &str, lines: &str) -> Option<Held> {
    Held::parse(target.as_bytes(), format!("{HEAD}{lines}").as_bytes())
}

#[test]
fn epoll_and_the_marks_of_inotify_and_fanotify_are_listed() {
    let lines = "tfd:        5 events:       19 data:                5  pos:0 ino:61af sdev:7\ntfd: 8 events: 1 data: ff\n";
    let Some(Held::Epoll { watches }) = parse("anon_inode:[eventpoll]", lines) else { panic!() };
    assert_eq!((watches[0].fd, watches[0].events, watches[0].inode), (5, 0x19, Some(0x61af)));
    assert_eq!((watches[1].fd, watches[1].data, watches[1].inode), (8, 0xff, None));
    let lines = "inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8\n";
    let Some(Held::Inotify { watches }) = parse("anon_inode:inotify", lines) else { panic!() };
    assert_eq!(
        (watches[0].inode, watches[0].device, watches[0].mask),
        (Some(0x9e7e), Some(0x80_0013), 0x800_afce)
    );
    let lines = "fanotify flags:4 event-flags:8002\nfanotify mnt_id:12 mflags:40 mask:38 ignored_mask:0\n";
    let Some(Held::Fanotify { watches }) = parse("anon_inode:[fanotify]", lines) else { panic!() };
    assert_eq!((watches.len(), watches[0].mount, watches[0].mask), (1, Some(0x12), 0x38));
}

#[test]
fn timers_events_signals_processes_bpf_and_rings_are_read() {
    for (target, lines, expected) in [
        ("anon_inode:[eventfd]", "eventfd-count:                1f\n", Held::Eventfd { count: 0x1f }),
        ("anon_inode:[signalfd]", "sigmask:\t0000000000004002\n", Held::Signalfd { mask: 0x4002 }),
        (
            "anon_inode:[timerfd]",
            "clockid: 1\nticks: 2\nsettime flags: 01\nit_value: (1, 5)\nit_interval: (0, 7)\n",
            Held::Timerfd { clock: 1, ticks: 2, value_ns: 1_000_000_005, interval_ns: 7 },
        ),
        ("anon_inode:[pidfd]", "Pid:\t-1\nNSpid:\t-1\n", Held::Pidfd { pid: -1 }),
        (
            "anon_inode:bpf-prog",
            "prog_type:\t1\nprog_jited:\t1\nprog_tag:\tabcd\nmemlock:\t4096\nprog_id:\t77\n",
            Held::BpfProgram { id: 77, program_type: 1, tag: "abcd".to_owned(), jited: true },
        ),
        (
            "anon_inode:bpf-map",
            "map_type:\t2\nkey_size:\t4\nvalue_size:\t8\nmax_entries:\t3\nmap_id:\t9\n",
            Held::BpfMap { id: 9, map_type: 2, key_size: 4, value_size: 8, max_entries: 3 },
        ),
        (
            "anon_inode:[io_uring]",
            "SqMask:\t0x3\nSqHead:\t1\nSqTail:\t4\nCqMask:\t0x7\nCqHead:\t0\nCqTail:\t0\nSqThread:\t-1\nUserFiles:\t2\n",
            Held::IoUring { submitted: 3, answered: 0, poller: -1, files: 2 },
        ),
    ] {
        assert_eq!(parse(target, lines), Some(expected), "{target}");
    }
}

#[test]
fn what_is_no_such_thing_or_says_too_little_is_none() {
    for (target, lines) in [
        ("/tmp/[eventfd]", "eventfd-count: 1\n"),
        ("anon_inode:[eventfd]", ""),
        ("anon_inode:[eventfd]", "eventfd-count: -1\n"),
        ("anon_inode:[timerfd]", "clockid: 1\nticks: 2\nit_value: 1, 5\nit_interval: (0, 7)\n"),
        ("anon_inode:[pidfd]", "Pid:\n"),
        ("anon_inode:bpf-prog", "prog_type: 1\n"),
        ("anon_inode:[io_uring]", "SqHead: 1\n"),
        ("socket:[1]", ""),
        ("", ""),
    ] {
        assert_eq!(parse(target, lines), None, "{target} {lines}");
    }
    let Some(Held::Epoll { watches }) = parse("anon_inode:[eventpoll]", "tfd:\ntfd: x\n tfd: 1\n") else {
        panic!()
    };
    assert_eq!(watches, []);
}

proptest! {
    #[test]
    fn any_bytes_are_read(info: Vec<u8>, lines in "((tfd: |inotify |Pid:|it_value: \\()[0-9a-f:,() ]{0,20}\n){0,5}") {
        for target in ["[eventpoll]", "inotify", "[fanotify]", "[eventfd]", "[signalfd]", "[timerfd]", "[pidfd]",
            "bpf-prog", "bpf-map", "bpf_link", "[io_uring]"] {
            let target = format!("anon_inode:{target}");
            Held::parse(target.as_bytes(), &info);
            Held::parse(target.as_bytes(), lines.as_bytes());
        }
    }
}
