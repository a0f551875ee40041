use super::*;
use crate::event::{BootId, Fork, Source};
use crate::text::Bytes;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::from(pid) * 10 }
}

fn event(second: i64, pid: u32, action: Action) -> Event {
    let time = Timestamp::from_second(second).unwrap();
    Event { time, source: Source::Probe { cpu: 0, seq: 0 }, process: id(pid), action }
}

fn fork(second: i64, parent: u32, pid: u32) -> Event {
    event(second, pid, Action::Fork(Fork { parent: Some(id(parent)), name: Bytes::from("sh") }))
}

fn exit(second: i64, pid: u32) -> Event {
    event(second, pid, Action::Exit(Exit { code: 0, signal: 0 }))
}

fn exec(second: i64, pid: u32, path: &str) -> Event {
    let image = Image { executable: Bytes::from(path), ..Image::default() };
    event(second, pid, Action::Exec(Box::new(image)))
}

fn tree(bounds: Bounds, events: &[Event]) -> Tree {
    let mut tree = Tree::new(bounds);
    for event in events {
        tree.apply(event);
    }
    tree
}

#[test]
fn lineage_survives_the_exit_of_every_link() {
    let events = [
        fork(1, 1, 10),
        exec(2, 10, "/bin/sh"),
        fork(3, 10, 11),
        exit(4, 10),
        exec(5, 11, "/tmp/x"),
        exit(6, 11),
    ];
    let tree = tree(Bounds::RECORDER, &events);
    assert_eq!(tree.ancestors(&id(11)), [id(10), id(1)]);
    assert_eq!(tree.subtree(&id(10)), [id(10), id(11)]);
    assert_eq!(tree.get(&id(11)).unwrap().image().unwrap().executable, Bytes::from("/tmp/x"));
    assert!(tree.get(&id(10)).unwrap().exited.is_some());
}

#[test]
fn the_scan_does_not_hide_an_exec_seen_before_it() {
    let running = Image { executable: Bytes::from("/bin/late"), ..Image::default() };
    let events = [exec(1, 5, "/bin/first"), event(2, 5, Action::Running(Box::new(running)))];
    let tree = tree(Bounds::RECORDER, &events);
    assert_eq!(tree.get(&id(5)).unwrap().images.len(), 1);
}

#[test]
fn when_full_the_longest_exited_go_and_the_living_and_their_ancestors_stay() {
    let bounds = Bounds { processes: 16, bytes: 1 << 20, images: 2, flows: 2, args: 99 };
    let mut events = vec![fork(0, 1, 2), fork(0, 2, 3), exit(1, 2)];
    for pid in 100..200 {
        events.extend([fork(i64::from(pid), 3, pid), exit(i64::from(pid), pid)]);
    }
    let tree = tree(bounds, &events);
    assert!(tree.len() <= 16, "{}", tree.len());
    assert!(tree.get(&id(2)).is_some(), "an exited parent of the living stays");
    assert!(tree.get(&id(3)).is_some());
    assert!(tree.get(&id(199)).is_some() && tree.get(&id(100)).is_none());
    assert_eq!(tree.forgotten() + u64::try_from(tree.len()).unwrap(), 102);
}

#[test]
fn images_and_flows_of_one_process_are_bounded_and_counted() {
    let bounds = Bounds { processes: 16, bytes: 1 << 20, images: 2, flows: 1, args: 99 };
    let flow = Flow { local: "0.0.0.0:0".parse().unwrap(), remote: "192.0.2.1:80".parse().unwrap() };
    let mut events: Vec<Event> = (0..5).map(|n| exec(n, 7, &format!("/{n}"))).collect();
    events.extend((0..3).map(|n| event(n, 7, Action::Connect(flow.clone()))));
    let tree = tree(bounds, &events);
    let node = tree.get(&id(7)).unwrap();
    assert_eq!(
        node.images.iter().map(|(_, image)| image.executable.to_string()).collect::<Vec<_>>(),
        ["/0", "/4"]
    );
    assert_eq!((node.images_dropped, node.flows.len(), node.flows_dropped), (3, 1, 2));
}

#[test]
fn a_loop_in_damaged_history_ends() {
    let tree = tree(Bounds::RECORDER, &[fork(1, 8, 9), fork(1, 9, 8)]);
    assert!(tree.ancestors(&id(9)).len() <= 1024);
    assert_eq!(tree.subtree(&id(9)).len(), 2);
}

#[test]
fn segments_read_in_any_order_give_the_same_process() {
    let forward = [fork(1, 1, 7), exec(2, 7, "/old"), exec(3, 7, "/new"), exit(4, 7)];
    let backward = [exit(4, 7), exec(3, 7, "/new"), exec(2, 7, "/old"), fork(1, 1, 7)];
    let trees = [forward, backward].map(|events| tree(Bounds::COLLECTOR, &events));
    assert_eq!(trees[0].get(&id(7)), trees[1].get(&id(7)));
    assert_eq!(trees[1].get(&id(7)).unwrap().image().unwrap().executable, Bytes::from("/new"));
    assert_eq!(trees[1].ancestors(&id(7)), [id(1)]);
}

#[test]
fn a_command_line_of_thousands_of_arguments_is_cut_in_memory() {
    let args = vec![Bytes::from("a"); 2000];
    let image = Image { args, ..Image::default() };
    let tree = tree(Bounds::RECORDER, &[event(1, 7, Action::Exec(Box::new(image)))]);
    let image = tree.get(&id(7)).unwrap().image().unwrap();
    assert!(image.args.len() < 60 && image.args_cut, "{}", image.args.len());
}

#[test]
fn bytes_are_bounded_whether_processes_end_or_not() {
    let bounds = Bounds { processes: 20_000, bytes: 8 << 20, ..Bounds::RECORDER };
    for (exits, pids) in [(true, 0..50_000), (false, 0..50_000)] {
        let mut tree = Tree::new(bounds);
        for pid in pids {
            let args = vec![Bytes::from(&[b'x'; 100]); 5];
            let image = Image { executable: Bytes::from("/usr/bin/some-program"), args, ..Image::default() };
            tree.apply(&fork(1, pid / 100, pid));
            tree.apply(&event(2, pid, Action::Exec(Box::new(image))));
            if exits {
                tree.apply(&exit(3, pid));
            }
            assert!(tree.bytes() <= bounds.bytes, "{}", tree.bytes());
        }
        let reckoned: usize = tree.nodes().map(size::of).sum();
        assert_eq!(tree.bytes(), reckoned);
        assert!(tree.len() > 3_000 && tree.len() <= bounds.processes, "{}", tree.len());
        assert!(tree.get(&id(49_999)).is_some() || !exits);
        assert_eq!(tree.forgotten() + u64::try_from(tree.len()).unwrap(), 50_000);
        let listed = tree.children.values().map(Vec::len).sum::<usize>();
        assert!(listed <= tree.len(), "the forgotten are nobody's children any more");
    }
}

#[test]
fn who_did_not_end_lives_in_its_own_boot_only() {
    let tree = tree(Bounds::RECORDER, &[fork(1, 1, 7), fork(1, 1, 8), exit(2, 8)]);
    let lives = |pid, boot| tree.get(&id(pid)).unwrap().lives_in(BootId([boot; 16]));
    assert!(lives(7, 1) && !lives(7, 2) && !lives(8, 1));
}
