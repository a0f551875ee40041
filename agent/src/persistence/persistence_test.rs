use proptest::prelude::*;

use super::*;

/// What a file of the host itself starts: who, what, when.
fn read(kind: Kind, path: &str, text: &str) -> Vec<(String, String, String)> {
    read_of(kind, path, text, None)
}

fn read_of(kind: Kind, path: &str, text: &str, user: Option<(&str, &str)>) -> Vec<(String, String, String)> {
    let user = user.map(|(name, home)| (name.as_bytes(), home.as_bytes()));
    let source = Source { kind, path: path.as_bytes(), text: text.as_bytes(), user, when: "w", beside: b"" };
    let string = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let who = |who| match who {
        Who::User(name) => string(name),
        Who::Everybody => "*".to_owned(),
        Who::Unit(name) => format!("unit {}", string(name)),
    };
    starts(&source).into_iter().map(|one| (who(one.who), string(one.what), one.when)).collect()
}

fn one(kind: Kind, path: &str, text: &str) -> (String, String, String) {
    let mut all = read(kind, path, text);
    assert_eq!(all.len(), 1, "{path}: {all:#?}");
    all.remove(0)
}

fn is((who, what, when): (String, String, String), expected: [&str; 3]) {
    assert_eq!((who.as_str(), what.as_str()), (expected[0], expected[1]));
    assert!(when.contains(expected[2]), "{when:?} has no {:?}", expected[2]);
}

#[test]
fn units_say_what_runs_as_whom_and_when() {
    let unit = "[Unit]\n# ExecStart=/no\n[Service]\nUser=web\nExecStart=-/srv/x \\\n  -d\nExecStop=+/srv/y\nExecStartPre=\n[Install]\nWantedBy=multi-user.target\n";
    let all = read(Kind::SystemdUnit, "/etc/systemd/system/x.service", unit);
    assert_eq!(all.len(), 2, "{all:?}");
    is(all[0].clone(), ["web", "/srv/x  -d", "when x.service starts; wanted by multi-user.target"]);
    is(all[1].clone(), ["root", "/srv/y", "when x.service stops"]);
    let timer = "[Timer]\nOnCalendar=*:0/5\nOnBootSec=1\n";
    is(
        one(Kind::SystemdUnit, "/etc/systemd/system/t.timer", timer),
        ["unit t.service", "t.service", "OnCalendar=*:0/5, OnBootSec=1"],
    );
    let socket = "[Socket]\nListenStream=4444\nService=s@.service\n";
    is(one(Kind::SystemdUnit, "/x/s.socket", socket), ["unit s@.service", "s@.service", "ListenStream=4444"]);
    let path = "[Path]\nPathExists=/tmp/go\nUnit=p.service\n";
    is(one(Kind::SystemdUnit, "/x/q.path", path), ["unit p.service", "p.service", "PathExists=/tmp/go"]);
    let drop_in = "[Service]\nExecStartPost=/opt/z\nEnvironment=\"LD_PRELOAD=/opt/l.so\"\n";
    let all = read(Kind::SystemdDropIn, "/etc/systemd/system/ssh.service.d/10.conf", drop_in);
    is(all[0].clone(), ["unit ssh.service", "/opt/z", "when ssh.service has started"]);
    assert!(all[1].1.contains("LD_PRELOAD"));
    let of_user = read_of(
        Kind::SystemdUnit,
        "/home/u/.config/systemd/user/x.service",
        "[Service]\nExecStart=%h/.x/y\n",
        Some(("u", "/home/u")),
    );
    assert_eq!(of_user[0].0, "u");
}

#[test]
fn links_say_with_what_a_unit_or_script_starts() {
    let link = |kind, path: &str| link(kind, path.as_bytes(), b"/usr/lib/systemd/system/a.service", None);
    assert_eq!(
        link(Kind::SystemdLink, "/etc/systemd/system/m.target.wants/a.service").unwrap().when,
        "with m.target"
    );
    assert_eq!(link(Kind::RunlevelLink, "/etc/rc2.d/S01x").unwrap().when, "at runlevel 2");
    assert!(link(Kind::RunlevelLink, "/etc/rc0.d/K01x").is_none());
    assert!(super::link(Kind::SystemdLink, b"/etc/systemd/system/a.service", b"/dev/null", None).is_none());
    assert!(link(Kind::Pam, "/x").is_none());
}

#[test]
fn tables_of_cron_are_read_and_their_broken_lines_are_not() {
    let text = "SHELL=/bin/sh\nMAILTO=x\n*/5 * * * * root /opt/a -x\n@reboot www-data /opt/b\n17 3 * * * root /opt/c\n\
        # 1 1 1 1 1 root /no\n* * * * *\n* * * root /no\n@never root /no\n99 a!b * * * root /no\n* * * * * root\n@\n1 2 3\n0 0 1 1 * root /opt/d\nLD_PRELOAD=/opt/e.so\n";
    let all = read(Kind::Crontab, "/etc/cron.d/x", text);
    let short: Vec<(&str, &str, &str)> =
        all.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(
        short,
        [
            ("root", "/opt/a -x", "every 5 minutes"),
            ("www-data", "/opt/b", "at every start of cron (boot)"),
            ("root", "/opt/c", "daily at 03:17"),
            ("root", "/opt/d", "cron schedule 0 0 1 1 *"),
            ("every user of this table", "LD_PRELOAD=/opt/e.so", "with each job of this table"),
        ]
    );
    is(
        one(Kind::CronOfUser, "/var/spool/cron/crontabs/u", "* * * * * /opt/a\n"),
        ["u", "/opt/a", "every minute"],
    );
    let anacron = "START_HOURS_RANGE=1-2\n1 5 cron.daily run-parts /etc/cron.daily\nx 5 a b\n1 5\n@monthly 9 m /opt/m\n";
    let all = read(Kind::Anacrontab, "/etc/anacrontab", anacron);
    assert_eq!(all.len(), 2, "{all:?}");
    is(all[0].clone(), ["root", "run-parts /etc/cron.daily", "every 1 days"]);
}

#[test]
fn jobs_of_at_are_read_behind_their_environment() {
    let job = "#!/bin/sh\n# atrun uid=1000 gid=1000\n# mail u 0\numask 22\nHOME=/home/u; export HOME\ncd /home/u || {\n\t echo no >&2\n\t exit 1\n}\n/tmp/x --go\n";
    is(one(Kind::At, "/var/spool/cron/atjobs/a0000101c3a1f0", job), ["u", "/tmp/x --go", "once, at 20"]);
    for text in ["", "#!/bin/sh\n/tmp/x\n", "# atrun uid", "\0"] {
        assert!(read(Kind::At, "/var/spool/cron/atjobs/a", text).is_empty(), "{text:?}");
    }
    let odd = one(Kind::At, "/x/zz", "#!/bin/sh\n# atrun uid=1 gid=1\n}\n/x\n");
    is(odd, ["the uid in its header", "/x", "does not tell"]);
}

#[test]
fn shells_files_show_their_telling_lines() {
    let text = "# comment /tmp/x\ncase $- in *i*) ;; *) return;; esac\nalias ll='ls -l'\n[ -f ~/.bash_aliases ] && . ~/.bash_aliases\n\
        nohup node ~/.local/share/.x/a.js >/dev/null 2>&1 &\nexport PROMPT_COMMAND=hi\nalias sudo='/opt/s'\nHISTSIZE=1\n";
    let all = read_of(Kind::ShellStart, "/home/u/.bashrc", text, Some(("u", "/home/u")));
    let what: Vec<&str> = all.iter().map(|one| one.1.as_str()).collect();
    assert_eq!(what.len(), 5, "{what:#?}");
    assert_eq!(what[0], "/home/u/.bashrc");
    assert!(
        what[2].starts_with("nohup node") && what[3].contains("PROMPT_COMMAND") && what[4].contains("sudo")
    );
    assert!(all.iter().all(|one| one.0 == "u" && one.2 == "w"));
    let script = read(Kind::Script, "/etc/rc.local", "#!/bin/sh\necho hi\n/opt/x\n/dev/shm/y &\nexit 0\n");
    assert_eq!(script.len(), 2, "{script:?}");
    assert_eq!(read(Kind::Script, "/etc/rc.local", "\x7fELF /dev/shm/y\n/dev/shm/y").len(), 1);
    is(
        one(Kind::Environment, "/etc/environment", "PATH=/bin\nLD_PRELOAD=/opt/x.so\nA\n=\n"),
        ["*", "LD_PRELOAD=/opt/x.so", "w"],
    );
}

#[test]
fn desktop_entries_and_bus_services_are_read() {
    let entry = "[Desktop Entry]\nName=x\nExec=/opt/x %u\n[Desktop Action a]\nExec=/no\n";
    is(one(Kind::Autostart, "/etc/xdg/autostart/x.desktop", entry), ["*", "/opt/x %u", "desktop session"]);
    for text in [
        "",
        "Exec=/no",
        "[Desktop Entry]\nHidden=TRUE\nExec=/no",
        "[Other]\nExec=/no",
        "[Desktop Entry]\nexec=/no",
        "[Desktop Entry",
    ] {
        assert!(read(Kind::Autostart, "/x", text).is_empty(), "{text}");
    }
    let service = "[D-BUS Service]\nName=a.b\nExec=/opt/x\nUser=web\n";
    is(one(Kind::DbusService, "/x/a.service", service), ["web", "/opt/x", "a.b on the bus"]);
}

#[test]
fn keys_and_what_ssh_runs_are_read() {
    let keys = "ssh-ed25519 AAAAC3Nza me@h\ncommand=\"/opt/x \\\"a b\\\"\",no-pty ssh-rsa BBBB\nenvironment=\"LD_PRELOAD=/opt/l.so\" ssh-ed25519 CC c\n\
        # ssh-rsa no\nssh-rsa\ncommand=\"open ssh-rsa AAAA\ngarbage here\nfrom=\"a\" nothing AAAA\n\"\n,,, ,\n";
    let all = read_of(Kind::AuthorizedKeys, "/home/u/.ssh/authorized_keys", keys, Some(("u", "/home/u")));
    let what: Vec<&str> = all.iter().map(|one| one.1.as_str()).collect();
    assert_eq!(
        what,
        ["a login shell", "/opt/x \"a b\"", "LD_PRELOAD=/opt/l.so", "a login shell"],
        "{all:#?}"
    );
    let server = "AuthorizedKeysCommand /opt/k %u\nAuthorizedKeysCommandUser nobody\nSubsystem sftp internal-sftp\nMatch User b\nForceCommand=/opt/f\nPort 22\nForceCommand none\nSetEnv A=b\n\nX";
    let all = read(Kind::SshServer, "/etc/ssh/sshd_config", server);
    assert_eq!(all.len(), 2, "{all:?}");
    is(all[0].clone(), ["nobody", "/opt/k %u", "attempt to log in by key"]);
    is(all[1].clone(), ["*", "/opt/f", "Match User b"]);
    is(
        one(Kind::SshClient, "/etc/ssh/ssh_config", "Host h\n ProxyCommand /opt/p %h\n"),
        ["*", "/opt/p %h", "connects to h"],
    );
    let source = Source {
        kind: Kind::SshServer,
        path: b"/etc/ssh/sshd_config",
        text: b"Include /a/*.conf b\n",
        user: None,
        when: "",
        beside: b"",
    };
    assert_eq!(includes(&source), [b"/a/*.conf".to_vec(), b"/etc/ssh/b".to_vec()]);
}

#[test]
fn stacks_of_pam_name_modules_and_what_they_run() {
    let text = "auth [success=1 default=ignore] pam_unix.so nullok\n@include common-auth\n-session optional pam_systemd.so\nauth optional pam_exec.so quiet /opt/x a\nauth include y\nauth\nfoo required pam_x.so\nauth [open pam_x.so\n";
    let all = read(Kind::Pam, "/etc/pam.d/sshd", text);
    assert_eq!(all.len(), 3, "{all:?}");
    is(all[2].clone(), ["root", "pam_exec.so quiet /opt/x a", "auth of sshd"]);
}

#[test]
fn rules_of_udev_that_run_are_read() {
    let text = "ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"/opt/x -a\", ENV{A}=\"b\"\nRUN{builtin}+=\"kmod load x\"\nPROGRAM==\"/opt/p\", NAME=\"x\"\nRUN+=\nRUN+=\"\n\"\"\"\n,\"x\n";
    let all = read(Kind::Udev, "/etc/udev/rules.d/x.rules", text);
    is(all[0].clone(), ["root", "/opt/x -a", "ACTION==add, SUBSYSTEM==net"]);
    is(all[1].clone(), ["root", "/opt/p", "device event"]);
}

#[test]
fn the_loader_and_the_kernel_are_read() {
    let preload = read(Kind::Preload, "/etc/ld.so.preload", "/opt/a.so:/opt/b.so # c\n#d\n\n");
    assert_eq!(preload.len(), 2);
    assert_eq!(read(Kind::LibraryPath, "/x", "include /a/*\n/opt/lib\nrelative\n").len(), 1);
    is(one(Kind::KernelModules, "/etc/modules", "loop\n;no\n#no\n"), ["root", "module loop", "kernel"]);
    let modprobe = "install x /opt/x\nremove y\nblacklist z\ninstall\noptions a b=c\n";
    is(one(Kind::Modprobe, "/etc/modprobe.d/x.conf", modprobe), ["root", "/opt/x", "module x"]);
    let sysctl = "kernel/core_pattern = |/opt/c %p\nkernel.core_pattern=core\nnet.a=1\nkernel.modprobe\n";
    is(one(Kind::Sysctl, "/x", sysctl), ["root", "/opt/c %p", "crashes"]);
}

#[test]
fn hooks_of_package_managers_are_read() {
    let text = "// c\nDPkg::Post-Invoke { \"/opt/a; true\"; };\nAPT { Update { Pre-Invoke:: \"/opt/b\"; }; };\n/* DPkg::Pre-Invoke {\"no\";}; */\n#clear X;\nDPkg::Pre-Invoke { };\nDir::Cache \"/opt/no\";\n";
    let all = read(Kind::Apt, "/etc/apt/apt.conf.d/x", text);
    let what: Vec<&str> = all.iter().map(|one| one.1.as_str()).collect();
    assert_eq!(what, ["/opt/a; true", "/opt/b"], "{all:?}");
    assert!(all[1].2.contains("apt::update::pre-invoke"), "{all:?}");
    for text in ["}", "{", "\"", "DPkg::Post-Invoke", ";;;", "/*", "DPkg::Post-Invoke {\"a\"", "}}}} \"x\";"]
    {
        assert!(read(Kind::Apt, "/x", text).is_empty(), "{text}");
    }
    is(one(Kind::Dpkg, "/x", "log /a\npre-invoke=/opt/x\npost-invoke\n"), ["root", "/opt/x", "pre-invoke"]);
    is(one(Kind::PackageAction, "/x", "*:any:/opt/x\na:b\nc\n"), ["root", "/opt/x", "any of *"]);
}

#[test]
fn git_mail_and_the_network_are_read() {
    let text = "[core]\n hooksPath = /opt/h\n fsmonitor = true\n[alias]\n s = status\n x = !/opt/a\n[credential \"https://h\"]\n helper = !/opt/c\n[\nx\n= y\n";
    let all = read(Kind::Git, "/etc/gitconfig", text);
    let what: Vec<&str> = all.iter().map(|one| one.1.as_str()).collect();
    assert_eq!(what, ["/opt/h", "/opt/a", "/opt/c"]);
    is(
        one(Kind::NetworkInterfaces, "/x", "iface eth0 inet dhcp\n post-up /opt/x\n up\n"),
        ["root", "/opt/x", "eth0"],
    );
    is(one(Kind::Mail, "/etc/aliases", "a: b\nc: \"|/opt/x y\"\n|\n"), ["*", "/opt/x y", "mail"]);
}

#[test]
fn scripts_in_settings_are_read() {
    let text =
        "/var/log/x {\n daily\n postrotate\n  /opt/a\n  /opt/b\n endscript\n}\nprerotate\n/opt/never-ended\n";
    is(one(Kind::Logrotate, "/etc/logrotate.d/x", text), ["root", "/opt/a\n/opt/b", "postrotate"]);
    let formats = ":x:M::MZ::/opt/x:\n#:y:M::MZ::/no:\nz\n:::\n";
    is(one(Kind::Binfmt, "/etc/binfmt.d/x.conf", formats), ["*", "/opt/x", "format x"]);
    is(one(Kind::Binfmt, "/var/lib/binfmts/x", "p\nmagic\n0\nMZ\n\n/opt/x\n"), ["*", "/opt/x", "format x"]);
    let sudoers = "Defaults env_reset\nu ALL=(root) NOPASSWD: /opt/x\n%sudo ALL=(ALL:ALL) ALL\n#NOPASSWD: x\n@includedir /etc/sudoers.d\n";
    is(one(Kind::Sudoers, "/etc/sudoers", sudoers), ["root", "/opt/x", "by u"]);
    let inittab = "id:2:initdefault:\nx:2345:respawn:/opt/x\n::\nbroken\n";
    is(one(Kind::Inittab, "/etc/inittab", inittab), ["root", "/opt/x", "respawn at runlevels 2345"]);
    is(
        one(Kind::Inetd, "/x", "ssh stream tcp nowait u /opt/x x -i\nbad\n"),
        ["u", "/opt/x x -i", "ssh (tcp)"],
    );
    is(
        one(Kind::Inetd, "/x", "service s\n{\n server = /opt/x\n user = u\n}\n{\n}\n"),
        ["u", "/opt/x", "connection to s"],
    );
    is(one(Kind::Upstart, "/x", "start on net\nexec /opt/x\nexec\n"), ["root", "/opt/x", "net"]);
}

#[test]
fn containers_and_clouds_are_read() {
    let config = r#"{"ID":"ab","Name":"/c","Path":"/x","Args":["-d"],"Config":{"Image":"i:1","User":""}}"#;
    let host = r#"{"RestartPolicy":{"Name":"always"},"Privileged":true,"Binds":["/:/host"]}"#;
    let source = |text: &'static str, beside: &'static str| Source {
        kind: Kind::Container,
        path: b"/x/config.v2.json",
        text: text.as_bytes(),
        user: None,
        when: "",
        beside: beside.as_bytes(),
    };
    let found = starts(&source(config, host));
    assert_eq!((found.len(), found[0].what.as_slice()), (1, &b"/x -d"[..]));
    assert!(found[0].when.contains("always") && !found[0].odd.is_empty(), "{found:?}");
    for beside in ["", "{", "[]", r#"{"RestartPolicy":{"Name":"no"}}"#, r#"{"RestartPolicy":7}"#] {
        assert!(
            starts(&source(
                Box::leak(config.to_owned().into_boxed_str()),
                Box::leak(beside.to_owned().into_boxed_str())
            ))
            .is_empty(),
            "{beside}"
        );
    }
    let cloud = "#cloud-config\nruncmd:\n - [sh, -c, 'curl h | sh']\n - /opt/x\n - {a: b}\nbootcmd: /no\n";
    let all = read(Kind::CloudInit, "/etc/cloud/cloud.cfg", cloud);
    assert_eq!(all.len(), 2, "{all:?}");
    is(all[0].clone(), ["root", "sh -c 'curl h | sh'", "first boot"]);
    for text in ["runcmd: [", "runcmd", "- runcmd", "runcmd: {}", "", "\u{1}runcmd"] {
        assert!(read(Kind::CloudInit, "/x", text).is_empty(), "{text}");
    }
    let pod = "spec:\n  containers:\n  - image: i\n    command: [/x]\n";
    is(one(Kind::StaticPod, "/x", pod), ["root of the pod", "i /x", "kubelet"]);
    is(
        one(Kind::Quadlet, "/x/c.container", "[Container]\nImage=i\nExec=/x\n"),
        ["root", "container of i /x", "c.container"],
    );
    is(
        one(Kind::PythonPath, "/x.pth", "/opt\nimport os; os.system('x')\nimports\n"),
        ["*", "import os; os.system('x')", "Python"],
    );
}

/// All kinds, by way of the table.
fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = places::PLACES.iter().map(|place| place.kind).collect();
    kinds.dedup();
    kinds
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_any_kind(text: Vec<u8>, path in "/[a-z./]{0,20}") {
        for kind in kinds() {
            let source = Source { kind, path: path.as_bytes(), text: &text, user: None, when: "", beside: &text };
            starts(&source);
            includes(&source);
            link(kind, path.as_bytes(), &text, None);
        }
    }

    /// Pieces of every grammar, put together at random.
    #[test]
    fn torn_texts_are_read_as_any_kind(parts in prop::collection::vec(prop::sample::select(vec![
        "[", "]", "[Service]\n", "ExecStart=", "\"", "'", "{", "}", ";", "\\\n", "=", "$(", "`", "|", "* * * * * ",
        "RUN+=", "command=", "ssh-rsa ", "postrotate\n", "endscript\n", "/*", "*/", ":", "#", "\n", " ", "root", "/x",
        "auth ", "runcmd:\n", "- ", "&a [*a]", "Match ", "include ", "@include ", "# atrun uid=",
    ]), 0..60)) {
        let text = parts.concat();
        for kind in kinds() {
            let source = Source { kind, path: b"/a/b.timer", text: text.as_bytes(), user: Some((b"u", b"/h")), when: "", beside: text.as_bytes() };
            for start in starts(&source) {
                prop_assert!(start.what.len() <= 2 * text.len() + 64);
            }
            includes(&source);
        }
    }
}
