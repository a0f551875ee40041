use super::*;
use crate::event::BootId;
use crate::history::stasher::Ask;

fn me() -> ProcessId {
    ProcessId { boot: BootId([0; 16]), pid: std::process::id(), start: 1 }
}

fn own_image() -> Image {
    let path = std::fs::read_link("/proc/self/exe").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    Image { executable: Bytes::from(path.to_str().unwrap()), inode, ..Image::default() }
}

#[test]
fn an_executable_is_asked_for_once_and_then_known() {
    let (here, there) = ipc::Channel::pair().unwrap();
    let mut stash = Stash::default();
    assert!(stash.connect(Some(here)).is_empty());
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    let (ask, files) = there.recv::<Ask>().unwrap().unwrap();
    let ticket = ask.ticket();
    assert_eq!(files.len(), 1);
    there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
    let answers = stash.answers().unwrap();
    assert!(matches!(&answers[..], [Kept::Yes(process, kept)] if *process == me() && kept.sha256 == "aa"));
    assert!(matches!(&stash.take(Path::new("/proc"), me(), &own_image())[..], [Kept::Yes(..)]));
}

#[test]
fn a_file_that_is_on_its_way_is_not_sent_again() {
    let (here, there) = ipc::Channel::pair().unwrap();
    let mut stash = Stash::default();
    stash.connect(Some(here));
    let other = ProcessId { start: 2, ..me() };
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    assert!(stash.take(Path::new("/proc"), other, &own_image()).is_empty());
    assert!(stash.is_waiting());
    let ticket = there.recv::<Ask>().unwrap().unwrap().0.ticket();
    assert!(matches!(there.try_recv::<Ask>(), Err(ipc::Error::WouldBlock)));
    there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
    let answers = stash.answers().unwrap();
    assert!(matches!(&answers[..], [Kept::Yes(one, _), Kept::Yes(two, _)] if *one == me() && *two == other));
    assert!(!stash.is_waiting());
}

#[test]
fn another_program_by_then_is_not_taken_for_the_one_that_was_seen() {
    let mut stash = Stash::default();
    let image = Image { executable: Bytes::from("/bin/other"), inode: u64::MAX, ..Image::default() };
    let taken = stash.take(Path::new("/proc"), me(), &image);
    let [Kept::No(_, _, reason)] = &taken[..] else { panic!("{taken:?}") };
    assert!(reason.contains("another program"), "{reason}");
}

#[test]
fn a_process_that_is_gone_and_a_stasher_that_is_gone_are_said() {
    let mut stash = Stash::default();
    let gone = ProcessId { pid: u32::MAX, ..me() };
    let taken = stash.take(Path::new("/proc"), gone, &own_image());
    let [Kept::No(_, _, reason)] = &taken[..] else { panic!("{taken:?}") };
    assert!(reason.contains("cannot reach"), "{reason}");
    let (here, _there) = ipc::Channel::pair().unwrap();
    stash.connect(Some(here));
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    assert!(matches!(&stash.connect(None)[..], [Kept::No(_, _, reason)] if reason.contains("ended")));
}

/// A stash with a gate, a stasher, and their other ends.
fn with_gate(options: Options) -> (Stash, ipc::Channel, ipc::Channel) {
    let mut stash = Stash::new(options);
    let (stasher, stashers) = ipc::Channel::pair().unwrap();
    let (gate, gates) = ipc::Channel::pair().unwrap();
    stash.connect(Some(stasher));
    stash.connect_gate(Some(gate));
    (stash, stashers, gates)
}

fn state(inode: u64, second: i64) -> FileState {
    FileState { device: (8, 1), inode, size: 5, changed: Some((second, 0)) }
}

fn image(state: &FileState, path: &str) -> Image {
    let (device, inode) = state.file();
    let (executable, filename) = (Bytes::from(path), Bytes::from(path));
    let changed = state.changed.map(|(second, _)| Timestamp::from_second(second).unwrap());
    Image { executable, filename, inode, device, changed, ..Image::default() }
}

/// Of one that cannot be looked at any more.
fn gone(pid: u32) -> ProcessId {
    ProcessId { pid: u32::MAX - pid, ..me() }
}

fn hand_over(gates: &ipc::Channel, process: ProcessId, state: FileState, path: &str, written: bool) {
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let message = HandOver { pid: process.pid, path: Bytes::from(path), state, written };
    gates.send(&message, &[std::os::fd::AsFd::as_fd(&file)]).unwrap();
}

fn answer(stash: &mut Stash, stashers: &ipc::Channel, sha256: &str) -> Vec<Kept> {
    let (ask, _) = stashers.try_recv::<Ask>().unwrap().unwrap();
    let (ticket, sha256) = (ask.ticket(), sha256.to_owned());
    stashers.send(&Answer::Kept { ticket, sha256, size: 5 }, &[]).unwrap();
    stash.answers().unwrap()
}

fn hashes(all: &[Kept]) -> Vec<(u32, String)> {
    let one = |kept: &Kept| match kept {
        Kept::Yes(process, stashed) => (u32::MAX - process.pid, stashed.sha256.clone()),
        other => panic!("{other:?}"),
    };
    all.iter().map(one).collect()
}

#[test]
fn what_the_gate_handed_over_is_joined_to_processes_that_are_long_gone() {
    let proc = Path::new("/proc");
    let (mut stash, stashers, gates) = with_gate(Options::default());
    let file = image(&state(1, 1), "/x");
    hand_over(&gates, gone(1), state(1, 1), "/x", false);
    assert!(stash.take(proc, gone(1), &file).is_empty());
    // The same file again while it is on its way, and once it is there: the gate says nothing.
    assert!(stash.take(proc, gone(2), &file).is_empty());
    let kept = answer(&mut stash, &stashers, "aa");
    assert_eq!(hashes(&kept), [(1, "aa".to_owned()), (2, "aa".to_owned())]);
    assert_eq!(hashes(&stash.take(proc, gone(3), &file)), [(3, "aa".to_owned())]);
    // Another state of it that was never handed over is not taken for it while the process can be looked at.
    hand_over(&gates, gone(4), state(1, 2), "/x", false);
    assert!(stash.take(proc, gone(4), &image(&state(1, 2), "/x")).is_empty());
    assert_eq!(hashes(&answer(&mut stash, &stashers, "bb")), [(4, "bb".to_owned())]);
}

#[test]
fn a_file_that_was_written_to_is_kept_again() {
    let (mut stash, stashers, gates) = with_gate(Options::default());
    hand_over(&gates, gone(1), state(1, 1), "/x", false);
    stash.turn(Instant::now());
    answer(&mut stash, &stashers, "aa");
    hand_over(&gates, gone(9), state(1, 1), "/x", true);
    stash.turn(Instant::now());
    answer(&mut stash, &stashers, "bb");
    let kept = stash.take(Path::new("/proc"), gone(2), &image(&state(1, 1), "/x"));
    assert_eq!(hashes(&kept), [(2, "bb".to_owned())]);
    // Twice before there is an answer to the first: the last one counts.
    hand_over(&gates, gone(9), state(1, 1), "/x", true);
    hand_over(&gates, gone(9), state(1, 1), "/x", true);
    stash.turn(Instant::now());
    answer(&mut stash, &stashers, "cc");
    assert!(stash.take(Path::new("/proc"), gone(3), &image(&state(1, 1), "/x")).is_empty());
    assert_eq!(hashes(&answer(&mut stash, &stashers, "dd")), [(3, "dd".to_owned())]);
}

#[test]
fn a_script_is_joined_though_its_interpreter_was_known() {
    let (mut stash, stashers, gates) = with_gate(Options::default());
    let shell = image(&state(1, 1), "/bin/sh");
    hand_over(&gates, gone(1), state(1, 1), "/bin/sh", false);
    stash.turn(Instant::now());
    answer(&mut stash, &stashers, "aa");
    hand_over(&gates, gone(2), state(2, 1), "/srv/x.sh", false);
    let script = Image { filename: Bytes::from("./x.sh"), ..shell };
    for drained in [false, true] {
        if drained {
            hand_over(&gates, gone(3), state(3, 1), "/srv/x.sh", false);
            stash.turn(Instant::now());
        }
        let process = gone(2 + u32::from(drained));
        let at_once = stash.take(Path::new("/proc"), process, &script);
        assert_eq!(at_once.len(), 1, "the interpreter");
        let kept = answer(&mut stash, &stashers, "cc");
        let [Kept::Yes(of, stashed)] = &kept[..] else { panic!("{kept:?}") };
        assert!(*of == process && stashed.executable == Bytes::from("/srv/x.sh"));
    }
}

#[test]
fn what_is_left_out_is_said_once_and_kept_for_a_service() {
    let accounts = Accounts::default();
    let (mut stash, stashers, gates) = with_gate(Options { accounts, ..Options::default() });
    let file = image(&state(1, 1), "/usr/bin/id");
    hand_over(&gates, gone(1), state(1, 1), "/usr/bin/id", false);
    assert!(stash.take(Path::new("/proc"), gone(1), &file).is_empty());
    let ticket = stashers.try_recv::<Ask>().unwrap().unwrap().0.ticket();
    stashers.send(&Answer::Skipped { ticket, reason: "a package".to_owned() }, &[]).unwrap();
    assert!(matches!(&stash.answers().unwrap()[..], [Kept::Skipped(process, _)] if *process == gone(1)));
    assert!(stash.take(Path::new("/proc"), gone(2), &file).is_empty(), "once is enough");
    let service = Image { uid: 33, ..file };
    assert!(stash.take(Path::new("/proc"), gone(3), &service).is_empty());
    let (ask, _) = stashers.try_recv::<Ask>().unwrap().unwrap();
    let Ask::Owned { ticket, state: asked, .. } = ask else { panic!("{ask:?}") };
    assert_eq!(asked, state(1, 1));
    stashers.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
    assert_eq!(hashes(&stash.answers().unwrap()), [(3, "aa".to_owned())]);
}

#[test]
fn a_file_outlives_one_stasher_and_not_two() {
    let (mut stash, first, gates) = with_gate(Options::default());
    hand_over(&gates, gone(1), state(1, 1), "/x", false);
    assert!(stash.take(Path::new("/proc"), gone(1), &image(&state(1, 1), "/x")).is_empty());
    drop(first);
    let (here, second) = ipc::Channel::pair().unwrap();
    assert!(stash.connect(Some(here)).is_empty());
    let (_, files) = second.try_recv::<Ask>().unwrap().unwrap();
    assert_eq!(files.len(), 1, "the file is asked for again");
    drop(second);
    let (here, _third) = ipc::Channel::pair().unwrap();
    let lost = stash.connect(Some(here));
    assert!(matches!(&lost[..], [Kept::No(process, ..)] if *process == gone(1)), "{lost:?}");
    // The gate is told to hand it over again.
    stash.turn(Instant::now());
    let (Forget { states }, _) = gates.try_recv::<Forget>().unwrap().unwrap();
    assert_eq!(states, [state(1, 1)]);
}

#[test]
fn what_went_from_the_stash_is_handed_over_again() {
    let (mut stash, stashers, gates) = with_gate(Options::default());
    hand_over(&gates, gone(1), state(1, 1), "/x", false);
    stash.turn(Instant::now());
    answer(&mut stash, &stashers, "aa");
    stashers.send(&Answer::Evicted { sha256: vec!["aa".to_owned()] }, &[]).unwrap();
    assert!(stash.answers().unwrap().is_empty());
    stash.turn(Instant::now());
    assert_eq!(gates.try_recv::<Forget>().unwrap().unwrap().0.states, [state(1, 1)]);
}

#[test]
fn when_too_much_waits_the_gate_has_to() {
    let (mut stash, _stashers, gates) = with_gate(Options { pending: 4, ..Options::default() });
    for inode in 0..10 {
        hand_over(&gates, gone(1), state(inode, 1), "/x", false);
    }
    stash.turn(Instant::now());
    assert_eq!(stash.pending.len(), 4);
    assert!(stash.gate().is_none(), "nobody waits for what cannot be taken");
}
