use super::*;
use crate::event::{Action, BootId, Event, Exit, Flow, Fork, Image, Source};
use crate::history::tree::Bounds;
use crate::text::Bytes;
use crate::trigger::Target;

const CID: &str = "7f3a9c1e5b2d84f60a1c3e5d7b9f2a4c6e8d0b1f3a5c7e9d1b3f5a7c9e0d2b4f";
/// Boot was at second 0; a process's start is its birth in ticks.
const NOW: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(pid: u32, born: i64) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::try_from(born).unwrap() * 100 }
}

fn event(second: i64, process: ProcessId, action: Action) -> Event {
    Event { time: at(second), source: Source::Probe { cpu: 0, seq: 0 }, process, action }
}

/// A process: born, one exec, and what else happened to it.
struct Life(ProcessId, Vec<Event>);

fn life(pid: u32, born: i64, parent: Option<ProcessId>) -> Life {
    let process = id(pid, born);
    Life(process, vec![event(born, process, Action::Fork(Fork { parent, name: Bytes::from("sh") }))])
}

impl Life {
    fn with(mut self, second: i64, action: Action) -> Self {
        self.1.push(event(second, self.0, action));
        self
    }

    fn exec(self, second: i64, command: &str) -> Self {
        self.image(second, image(command))
    }

    fn image(self, second: i64, image: Image) -> Self {
        self.with(second, Action::Exec(Box::new(image)))
    }

    fn connect(self, second: i64, remote: &str) -> Self {
        let flow = Flow { local: "0.0.0.0:0".parse().unwrap(), remote: remote.parse().unwrap() };
        self.with(second, Action::Connect(flow))
    }

    fn exit(self, second: i64) -> Self {
        self.with(second, Action::Exit(Exit { code: 0, signal: 9 }))
    }
}

/// `/path/to/x -a b`: the executable is the first word, the name its last component.
fn image(command: &str) -> Image {
    let path = command.split(' ').next().unwrap();
    Image {
        name: Bytes::from(path.rsplit('/').next().unwrap()),
        executable: Bytes::from(path),
        args: command.split(' ').map(Bytes::from).collect(),
        uid: 33,
        ..Image::default()
    }
}

fn tree(lives: &[Life]) -> Tree {
    let mut tree = Tree::new(Bounds { processes: 1 << 20, bytes: 1 << 30, images: 8, flows: 32, args: 4096 });
    for event in lives.iter().flat_map(|life| &life.1) {
        tree.apply(event);
    }
    tree
}

fn found(tree: &Tree, target: Target, time: i64) -> Vec<(u32, u64)> {
    matches(tree, target, time).iter().map(|found| (found.process.pid, found.process.start / 100)).collect()
}

fn matches(tree: &Tree, target: Target, time: i64) -> Vec<Match> {
    let trigger = Trigger { target, time: Some(at(time)), ..Trigger::default() };
    resolve(&trigger, tree, at(NOW))
}

fn exe(path: &str) -> Target {
    Target { exe: Some(Bytes::from(path)), ..Target::default() }
}

fn cmdline(text: &str) -> Target {
    Target { cmdline: Some(Bytes::from(text)), ..Target::default() }
}

fn remote(address: &str, port: Option<u16>) -> Target {
    Target { remote_ip: Some(address.parse().unwrap()), remote_port: port, ..Target::default() }
}

#[test]
fn nothing_said_finds_nothing() {
    let tree = tree(&[life(5, 100, None).exec(100, "/bin/x")]);
    let weak = Target { uid: Some(33), user: Some("www-data".to_owned()), ..Target::default() };
    let host = Target { whole_host: true, ..exe("/bin/x") };
    for target in [Target::default(), weak, host, exe("/bin/y")] {
        assert!(found(&tree, target, 200).is_empty());
    }
}

#[test]
fn the_exited_are_found_and_so_is_every_image() {
    let lives = vec![
        life(5, 100, None).exec(101, "/tmp/x").exec(102, "/usr/bin/vim").exit(200),
        life(6, 100, None).exec(101, "/usr/bin/other"),
    ];
    let tree = tree(&lives);
    assert_eq!(found(&tree, exe("/tmp/x"), 150), [(5, 100)]);
    assert_eq!(found(&tree, exe("/usr/bin/vim"), 9_999), [(5, 100)]);
    assert_eq!(found(&tree, exe("/usr/bin/vim (deleted)"), 9_999), [(5, 100)]);
}

#[test]
fn hints_must_hold_of_the_same_image() {
    let lives = vec![
        life(5, 100, None).exec(101, "/bin/a one").exec(102, "/bin/b two"),
        life(6, 100, None).exec(101, "/bin/a two"),
    ];
    let target = Target { cmdline: Some(Bytes::from("a two")), ..exe("/bin/a") };
    assert_eq!(found(&tree(&lives), target, 150), [(6, 100)]);
}

#[test]
fn a_reused_pid_means_who_lived_at_the_alerts_time() {
    let lives = vec![
        life(7, 100, None).exec(100, "/bin/a").exit(200),
        life(7, 300, None).exec(300, "/bin/b").exit(400),
        life(7, 5_000, None).exec(5_000, "/bin/c"),
    ];
    let tree = tree(&lives);
    let pid = || Target { pid: Some(7), ..Target::default() };
    for (time, born) in [(150, 100), (210, 100), (290, 300), (350, 300), (420, 300), (6_000, 5_000)] {
        assert_eq!(found(&tree, pid(), time), [(7, born)], "at {time}");
    }
    let started = Target { process_start: Some(at(300)), ..pid() };
    assert_eq!(found(&tree, started, 150), [(7, 300)]);
}

#[test]
fn a_start_is_reckoned_from_ticks_where_the_birth_was_not_seen() {
    let process = id(9, 50);
    let running = event(1_000, process, Action::Running(Box::new(image("/bin/old"))));
    let mut tree = tree(&[life(5, 100, None).exec(100, "/bin/a")]);
    tree.apply(&running);
    let target = |start| Target { pid: Some(9), process_start: Some(at(start)), ..Target::default() };
    assert!(matches(&tree, target(50), 60)[0].why.iter().any(|why| why.starts_with("started at")));
    let other = matches(&tree, target(900), 950);
    assert!(other[0].why.iter().any(|why| why.starts_with("but not started at")), "{other:?}");
}

#[test]
fn command_lines_as_senders_print_them() {
    let long = format!("/bin/x {}", "a".repeat(200));
    let script = Image {
        name: Bytes::from("run.py"),
        executable: Bytes::from("/usr/bin/python3"),
        filename: Bytes::from("/tmp/run.py"),
        args: vec![Bytes::from("python3"), Bytes::from("/tmp/run.py"), Bytes::from("two words")],
        ..Image::default()
    };
    let raw = Image { args: vec![Bytes::from("r"), Bytes::from(b"\xffz")], ..image("/bin/raw") };
    let cut = Image { args_cut: true, ..image(&format!("/bin/cut {}", "c".repeat(60))) };
    let lives = vec![
        life(1, 100, None).exec(100, "/tmp/vim -c 203.0.113.45"),
        life(2, 100, None).exec(100, &long),
        life(3, 100, None).image(100, script),
        life(4, 100, None).image(100, raw),
        life(5, 100, None).image(100, cut),
    ];
    let tree = tree(&lives);
    for (text, pid) in [
        ("vim -c 203.0.113.45", 1),
        ("/tmp/vim -c 203.0.113.45 ", 1),
        (&format!("x {}[...]", "a".repeat(90)), 2),
        (&format!("x {}", "a".repeat(90)), 2),
        ("run.py /tmp/run.py two words", 3),
        ("python3 /tmp/run.py two words", 3),
        ("raw \u{fffd}z", 4),
        (&format!("cut {}", "c".repeat(500)), 5),
    ] {
        assert_eq!(found(&tree, cmdline(text), 150), [(pid, 100)], "{text}");
    }
    for text in ["vim", "vim -c", "vim -c 203.0.113.4", "[...]", "x", "-c 203.0.113.45", "raw z"] {
        assert!(found(&tree, cmdline(text), 150).is_empty(), "{text}");
    }
}

#[test]
fn names_are_compared_as_the_kernel_cuts_them() {
    let lives =
        vec![life(1, 100, None).image(
            100,
            Image { name: Bytes::from("a-very-long-nam"), ..image("/opt/a-very-long-name-indeed") },
        )];
    let tree = tree(&lives);
    for name in ["a-very-long-nam", "a-very-long-name-indeed"] {
        let target = Target { process_name: Some(Bytes::from(name)), ..Target::default() };
        assert_eq!(found(&tree, target, 150), [(1, 100)], "{name}");
    }
    let other = Target { process_name: Some(Bytes::from("a-very")), ..Target::default() };
    assert!(found(&tree, other, 150).is_empty());
}

#[test]
fn containers_by_whole_id_and_by_its_beginning_whoever_runs_them() {
    let in_cgroup = |pid, cgroup: String| {
        life(pid, 100, None).image(100, Image { cgroup: Bytes::from(&cgroup), ..image("/bin/x") })
    };
    let other = "0".repeat(64);
    let tree = tree(&[
        in_cgroup(1, format!("/system.slice/docker-{CID}.scope")),
        in_cgroup(2, format!("/kubepods/burstable/pod1/{CID}")),
        in_cgroup(3, format!("/system.slice/docker-{other}.scope")),
        in_cgroup(4, "/user.slice".to_owned()),
        in_cgroup(5, format!("/machine.slice/libpod-{CID}.scope/container")),
    ]);
    for cid in [CID, CID.get(..12).unwrap()] {
        let target = Target { container_id: Some(cid.to_owned()), ..Target::default() };
        let mut pids: Vec<u32> = found(&tree, target, 150).iter().map(|found| found.0).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 2, 5], "{cid}");
    }
    let middle = Target { container_id: CID.get(4..20).map(str::to_owned), ..Target::default() };
    assert!(found(&tree, middle, 150).is_empty(), "an id begins at its beginning");
    let both = Target { container_id: Some(other), ..exe("/bin/x") };
    assert_eq!(found(&tree, both, 150), [(3, 100)]);
}

#[test]
fn remote_addresses_inbound_outbound_and_mapped() {
    let flow = |remote: &str| Flow { local: "10.0.0.2:80".parse().unwrap(), remote: remote.parse().unwrap() };
    let tree = tree(&[
        life(1, 100, None).exec(100, "/bin/a").connect(110, "203.0.113.45:4444"),
        life(2, 100, None).exec(100, "/bin/b").with(110, Action::Accept(flow("[::ffff:203.0.113.45]:50000"))),
        life(3, 100, None).exec(100, "/bin/c").with(110, Action::Listen(flow("0.0.0.0:0"))),
        life(4, 100, None).exec(100, "/bin/d").with(110, Action::Datagram(flow("[2001:db8::1]:53"))),
    ]);
    let mut both = found(&tree, remote("203.0.113.45", None), 150);
    both.sort_unstable();
    assert_eq!(both, [(1, 100), (2, 100)]);
    assert_eq!(found(&tree, remote("203.0.113.45", Some(4444)), 150), [(1, 100)]);
    assert_eq!(found(&tree, remote("2001:db8::1", Some(53)), 150), [(4, 100)]);
    assert!(found(&tree, remote("0.0.0.0", None), 150).is_empty(), "a listener has no far side");
    let other_port = matches(&tree, remote("203.0.113.45", Some(1)), 150);
    assert_eq!(other_port.len(), 2);
    assert!(other_port[0].why.iter().any(|why| why.contains("but not port 1")), "{other_port:?}");
}

#[test]
fn a_shell_is_found_by_the_connection_its_parent_opened() {
    let dropper = life(1, 100, None).exec(100, "/usr/bin/python3").connect(110, "203.0.113.45:4444");
    let parent = dropper.0;
    let tree = tree(&[
        dropper,
        life(2, 111, Some(parent)).exec(111, "/bin/sh -i"),
        life(3, 111, None).exec(111, "/bin/sh -i"),
    ]);
    let target = Target { exe: Some(Bytes::from("/bin/sh")), ..remote("203.0.113.45", Some(4444)) };
    let found = matches(&tree, target, 150);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].process.pid, 2);
    assert!(found[0].why.iter().any(|why| why.contains("an ancestor's connection")));
}

#[test]
fn a_fork_without_an_exec_runs_its_parents_image_of_that_time() {
    let parent = life(1, 100, None).exec(100, "/srv/server").exec(300, "/bin/later");
    let id = parent.0;
    let tree = tree(&[parent, life(2, 200, Some(id)), life(3, 400, Some(id))]);
    let mut pids: Vec<u32> = found(&tree, exe("/srv/server"), 250).iter().map(|found| found.0).collect();
    pids.sort_unstable();
    assert_eq!(pids, [1, 2]);
}

#[test]
fn when_nothing_fits_all_the_best_is_taken_and_what_is_wrong_is_said() {
    let tree = tree(&[life(1, 100, None).exec(100, "/tmp/x -v"), life(2, 100, None).exec(100, "/tmp/x -w")]);
    let target = Target { cmdline: Some(Bytes::from("x -v")), uid: Some(0), ..exe("/tmp/x") };
    let found = matches(&tree, target, 150);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].process.pid, 1);
    assert!(found[0].why.contains(&"but not user 0".to_owned()), "{:?}", found[0].why);
    assert!(found[0].why.contains(&"executable /tmp/x".to_owned()));
}

#[test]
fn an_alert_with_a_clock_far_behind_still_finds_its_process() {
    let tree = tree(&[life(1, 5_000, None).exec(5_000, "/tmp/x"), life(2, 10, None).exec(10, "/bin/y")]);
    let found = matches(&tree, exe("/tmp/x"), 100);
    assert_eq!(found[0].process.pid, 1);
    assert!(found[0].why.iter().any(|why| why.contains("after the alert")), "{:?}", found[0].why);
}

#[test]
fn of_many_the_nearest_in_time_comes_first_and_their_number_is_bounded() {
    let mut lives: Vec<Life> =
        (0..200_u32).map(|n| life(n + 1, 100 + i64::from(n), None).exec(400, "/bin/x").exit(500)).collect();
    lives.push(life(500, 900, None).exec(900, "/bin/x"));
    let found = found(&tree(&lives), exe("/bin/x"), 950);
    assert_eq!(found.len(), MATCHES_MAX);
    assert_eq!(found[0], (500, 900));
}

#[test]
fn reasons_are_safe_to_show() {
    let tree = tree(&[life(1, 100, None).exec(100, "/tmp/\u{1b}[2Jx")]);
    let found = matches(&tree, exe("/tmp/\u{1b}[2Jx"), 150);
    assert!(found[0].why.contains(&"executable /tmp/\\x1B[2Jx".to_owned()));
}

#[test]
fn a_hundred_thousand_processes_are_searched_in_a_moment() {
    let lives: Vec<Life> = (1..=100_000_u32)
        .map(|n| {
            let life =
                life(n, i64::from(n % 9_000), None).exec(9_000, &format!("/usr/bin/tool-{n} --number {n}"));
            life.connect(9_000, "198.51.100.7:443").exit(9_100)
        })
        .collect();
    let tree = tree(&lives);
    let target = Target {
        exe: Some(Bytes::from("/usr/bin/tool-77777")),
        process_name: Some(Bytes::from("tool-77777")),
        uid: Some(33),
        ..cmdline("tool-77777 --number 77777")
    };
    let begun = std::time::Instant::now();
    let found = found(&tree, target, 9_050);
    let took = begun.elapsed();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, 77_777);
    // Unoptimised, on a busy machine; optimised it is a tenth of that.
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    println!("{took:?}");
}
