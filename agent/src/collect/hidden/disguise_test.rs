use proptest::prelude::*;

use super::*;

fn user(comm: &str, called: &str, executable: &str) -> Seen {
    Seen {
        comm: Bytes::from(comm),
        called: Bytes::from(called),
        executable: Some(Bytes::from(executable)),
        parent: 1,
        ..Seen::default()
    }
}

fn kernel(comm: &str, parent: u32) -> Seen {
    Seen { kernel_thread: true, parent, comm: Bytes::from(comm), ..Seen::default() }
}

#[test]
fn disguises_are_found() {
    let gone = |seen: Seen| Seen { unlinked: true, ..seen };
    for (seen, reason) in [
        (user("x", "[kworker/0:1]", "/tmp/x"), BRACKETS),
        (user("x", "[kthreadd]", "/tmp/x"), BRACKETS),
        (user("x", "[evil]", "/tmp/x"), BRACKETS),
        (user("x", "[kworker/u8:0-events_unbound] ", "/tmp/x"), BRACKETS),
        (user("kworker/0:1H", "/tmp/x", "/tmp/x"), KERNEL_COMM),
        (user("kthreadd", "x", "/tmp/x"), KERNEL_COMM),
        (user("kswapd0", "x", "/tmp/x"), KERNEL_COMM),
        (kernel("kworker/0:3", 4711), STRANGE_PARENT),
        (Seen { kernel_thread: true, ..user("kworkerish", "", "/tmp/x") }, WITH_PROGRAM),
        (user("3", "x", "/memfd:x (deleted)"), MEMORY_ONLY),
        (gone(user("x", "x", "/tmp/x (deleted)")), GONE),
        (user("x", "x", "/usr/bin/sshd "), NAME),
        (user("x", "x", "/tmp/.../..."), NAME),
        (user("x", "x", "/usr/bin/ss\u{200b}hd"), NAME),
        (gone(user("x", "x", "/usr/bin/\u{441}ron (deleted)")), NAME),
        (user("ss\u{200b}hd", "x", "/usr/bin/x"), COMM),
        (user("b\u{430}sh", "x", "/usr/bin/x"), COMM),
        (user("a\nb", "x", "/usr/bin/x"), COMM),
    ] {
        assert!(judge(&seen).contains(&reason), "{seen:?}: {:?}", judge(&seen));
    }
}

#[test]
fn ordinary_processes_are_not() {
    for seen in [
        user("sshd", "sshd: /usr/sbin/sshd -D", "/usr/sbin/sshd"),
        user("Isolated Web Co", "/usr/lib/firefox/firefox", "/usr/lib/firefox/firefox"),
        user("Web Content ", "x", "/usr/lib/firefox/firefox"),
        user("(sd-pam)", "(sd-pam)", "/usr/lib/systemd/systemd"),
        user("python3", "[celeryd: celery@host:MainProcess]", "/usr/bin/python3.11"),
        user("python3", "[my worker]", "/usr/bin/python3.11"),
        user("loopback-server", "x", "/usr/bin/loopback-server"),
        user("cryptsetup", "x", "/usr/sbin/cryptsetup"),
        user("irqbalance", "x", "/usr/sbin/irqbalance"),
        user("watchdog-daemon", "x", "/usr/sbin/watchdog-daemon"),
        user("ksmtuned", "x", "/usr/sbin/ksmtuned"),
        user("writeback", "x", "/usr/bin/writeback"),
        user("scsi_eh_", "x", "/usr/bin/scsi_eh_"),
        user("bash", "-bash", "/usr/bin/bash"),
        user("[", "[", "/usr/bin/["),
        user("x", "[]", "/usr/bin/x"),
        user("x", "", "/usr/bin/x"),
        // Its name was cut in the middle of a character.
        Seen {
            comm: Bytes::from(b"\xd0\x9e\xd1\x82\xd1\x87\xd1\x91\xd1\x82\xd0\xbd\xd0\xbe\xd1"),
            ..user("", "x", "/usr/bin/x")
        },
        kernel("kthreadd", 0),
        kernel("kworker/0:3", 2),
        kernel("anything", 2),
        // A zombie, or a process in the middle of its end.
        Seen { parent: 1, comm: Bytes::from("kworker/0:1"), ..Seen::default() },
        // Upgraded while it runs.
        Seen { unlinked: true, replaced: true, ..user("sshd", "sshd", "/usr/sbin/sshd (deleted)") },
        Seen::default(),
    ] {
        assert_eq!(judge(&seen), Vec::<&str>::new(), "{seen:?}");
    }
}

proptest! {
    #[test]
    fn any_process_is_judged(comm: Vec<u8>, called: Vec<u8>, path: Vec<u8>, kernel_thread: bool, unlinked: bool) {
        judge(&Seen {
            comm: Bytes(comm), called: Bytes(called), executable: Some(Bytes(path)), kernel_thread, unlinked,
            ..Seen::default()
        });
    }
}
