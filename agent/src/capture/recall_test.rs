use super::*;
use crate::event::{Action, BootId, Exit, Fork, Image, Source};
use crate::history::compact;
use crate::history::writer::Writer;
use crate::text::Bytes;
use crate::trigger::Target;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::from(pid) }
}

fn event(second: u32, pid: u32, action: Action) -> Event {
    let time = Timestamp::from_second(i64::from(second)).unwrap();
    Event { time, source: Source::Scan, process: id(pid), action }
}

fn exec(second: u32, pid: u32, path: &str) -> Event {
    let image = Image { executable: Bytes::from(path), ..Image::default() };
    event(second, pid, Action::Exec(Box::new(image)))
}

fn fork(second: u32, parent: u32, pid: u32) -> Event {
    event(second, pid, Action::Fork(Fork { parent: Some(id(parent)), name: Bytes::from("sh") }))
}

/// An intrusion in second 100, in the middle of a hundred segments of other lives: 5 begot 10001, that 10002, `/tmp/x`,
/// and that 10003, which still lives.
fn history(folder: &Path) {
    for number in 0..100_u32 {
        let mut writer = Writer::new(folder).unwrap();
        let mut put = |event: Event| writer.append(&event, Instant::now()).unwrap();
        for pid in number * 50 + 100..number * 50 + 150 {
            put(fork(number * 10, 5, pid));
            put(exec(number * 10, pid, "/usr/bin/grep"));
            put(event(number * 10, pid, Action::Exit(Exit { code: 0, signal: 0 })));
        }
        match number {
            0 => [fork(1, 1, 5), exec(2, 5, "/usr/sbin/web")].into_iter().for_each(&mut put),
            10 => {
                [fork(100, 5, 10_001), fork(101, 10_001, 10_002)].into_iter().for_each(&mut put);
                [exec(102, 10_002, "/tmp/x"), fork(103, 10_002, 10_003)].into_iter().for_each(&mut put);
            }
            50 => put(event(500, 10_002, Action::Exit(Exit { code: 7, signal: 0 }))),
            _ => {}
        }
        writer.close().unwrap();
    }
    compact::all(folder).unwrap();
}

fn ask(folder: &Path, target: Target, deadline: Instant) -> Recalled {
    let trigger = Trigger { target, ..Trigger::default() };
    let running = [exec(999, 10_003, "/tmp/x")];
    let now = Timestamp::from_second(1_000).unwrap();
    let question =
        Question { folder, trigger: &trigger, targets: &[], running: &running, since: Timestamp::MIN, now };
    recall(&question, deadline).unwrap()
}

#[test]
fn a_late_trigger_finds_its_process_its_family_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let later = Instant::now() + Duration::from_mins(1);
    for target in [
        Target { exe: Some(Bytes::from("/tmp/x")), ..Target::default() },
        Target { cmdline: Some(Bytes::from("/tmp/x")), ..Target::default() },
        Target { pid: Some(10_002), ..Target::default() },
    ] {
        let Recalled { tree, targets, unread } = ask(folder.path(), target, later);
        assert!(targets.contains(&id(10_002)) && unread.is_empty(), "{targets:?} {unread:?}");
        assert_eq!(tree.ancestors(&id(10_003)), [id(10_002), id(10_001), id(5), id(1)]);
        assert_eq!(tree.get(&id(10_002)).unwrap().exited.as_ref().unwrap().1.code, 7);
        assert_eq!(tree.get(&id(5)).unwrap().image().unwrap().executable, Bytes::from("/usr/sbin/web"));
        assert!(tree.get(&id(10_003)).unwrap().exited.is_none());
    }
}

#[test]
fn what_the_time_did_not_suffice_for_is_said() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let target = Target { exe: Some(Bytes::from("/tmp/x")), ..Target::default() };
    let Recalled { unread, tree, .. } = ask(folder.path(), target, Instant::now());
    assert!(unread[0].starts_with("1 of 1 frames that may be of whom the trigger means"), "{unread:?}");
    assert_eq!(tree.len(), 1, "what is running is known in any case");
}
