use proptest::prelude::*;

use super::*;

const FRAME: Frame = Frame { boot: BootId([7; 16]), offset: 1_000_000_000_000_000_000 };

fn header(kind: u32) -> Vec<u8> {
    let mut record = [kind, 3].map(u32::to_ne_bytes).concat();
    record.extend([9_u64, 5, 1_234_567_891].map(u64::to_ne_bytes).concat());
    record.extend([42_u32, 0].map(u32::to_ne_bytes).concat());
    record
}

fn exec(texts: [&[u8]; 5], flags: u32) -> Vec<u8> {
    let mut record = header(kind::EXEC);
    record.extend([20_000_000_u64.to_ne_bytes().as_slice(), &[1, 0, 0, 0, 0, 0, 0, 0]].concat());
    record.extend(77_u64.to_ne_bytes());
    record.extend([99_u64, 1_600_000_000].map(u64::to_ne_bytes).concat());
    record.extend(
        [5, 8 << 20 | 1, NONE, 1000, 33, 1001, NONE, 1, 2, 3, 4, flags].map(u32::to_ne_bytes).concat(),
    );
    record.extend(texts.map(|text| u16::try_from(text.len()).unwrap().to_ne_bytes()).concat());
    record.extend([0; 6]);
    record.extend(b"x\0zzzzzzzzzzzzzz");
    record.extend(texts.concat());
    record
}

#[test]
fn an_exec_is_told_whole() {
    let record = exec([b"./x", b"x\0-v\0", b"x\0tmp\0", b"", b"pod\0kube\0"], 0);
    let event = decode(&record, FRAME).unwrap();
    assert_eq!(event.source, Source::Probe { cpu: 3, seq: 9 });
    assert_eq!((event.process.pid, event.process.start), (42, 123));
    assert_eq!(event.time.as_nanosecond(), 1_000_000_000_000_000_005);
    let Action::Exec(image) = event.action else { panic!() };
    assert_eq!(image.parent.map(|parent| (parent.pid, parent.start)), Some((1, 2)));
    assert_eq!((image.name, image.filename), (Bytes::from("x"), Bytes::from("./x")));
    assert_eq!(image.executable, Bytes::from("/tmp/x"));
    assert_eq!(image.working_directory, Bytes::from("/"));
    assert_eq!(image.cgroup, Bytes::from("/kube/pod"));
    assert_eq!(image.args, [Bytes::from("x"), Bytes::from("-v")]);
    assert_eq!((image.links, image.login_uid, image.device), (None, None, 8 << 20 | 1));
    assert_eq!((image.uid, image.real_uid, image.gid, image.namespaces.user), (1000, Some(33), 1001, 4));
    assert_eq!(image.changed, Timestamp::new(1_600_000_000, 5).ok());
    assert_eq!((image.cgroup_id, image.hold), (Some(99), None));
}

#[test]
fn a_cgroup_that_was_told_before_has_no_path_and_a_held_process_says_so() {
    let record = exec([b"./x", b"x\0", b"x\0", b"", b""], flag::CGROUP_TOLD | flag::HELD);
    let Action::Exec(image) = decode(&record, FRAME).unwrap().action else { panic!() };
    assert_eq!((image.cgroup, image.cgroup_id), (Bytes::default(), Some(99)));
    assert_eq!(image.hold, Some(Hold::Stopped));
}

#[test]
fn a_path_without_its_upper_end_does_not_look_whole() {
    assert_eq!(path(b"c\0b\0", true), Bytes::from(".../b/c"));
    assert_eq!(path(b"", true), Bytes::from(""));
    assert_eq!(path(b"memfd:x\0", false), Bytes::from("/memfd:x"));
    assert_eq!(path(b"/\0", false), Bytes::from("/"));
}

#[test]
fn an_end_is_a_code_or_a_signal() {
    assert_eq!(exit(0x0300), Exit { code: 3, signal: 0 });
    assert_eq!(exit(0x008b), Exit { code: 0, signal: 11 });
    assert_eq!(exit(9), Exit { code: 0, signal: 9 });
}

#[test]
fn addresses_of_both_families() {
    let mut record = header(kind::CONNECT);
    record.extend(AF_INET.to_ne_bytes());
    record.extend([0, 0, 1, 187, 0, 0]);
    record.extend([[10, 0, 0, 2], [0; 4], [0; 4], [0; 4], [192, 0, 2, 1], [0; 4], [0; 4], [0; 4]].concat());
    let Action::Connect(flow) = decode(&record, FRAME).unwrap().action else { panic!() };
    assert_eq!(flow.remote, "192.0.2.1:443".parse().unwrap());
    record[40..42].copy_from_slice(&AF_INET6.to_ne_bytes());
    let Action::Connect(flow) = decode(&record, FRAME).unwrap().action else { panic!() };
    assert_eq!(flow.remote, "[c000:201::]:443".parse().unwrap());
    record[40] = 99;
    assert_eq!(decode(&record, FRAME), None);
}

#[test]
fn a_cut_record_is_refused() {
    let record = exec([b"a", b"b\0", b"c\0", b"d\0", b"e\0"], 0);
    for length in 0..record.len() {
        assert_eq!(decode(&record[..length], FRAME), None, "{length}");
    }
    assert_eq!(decode(&header(kind::COUNT), FRAME), None);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(kind in 0..9_u32, bytes: Vec<u8>) {
        let mut record = header(kind);
        record.extend(bytes);
        let event = decode(&record, FRAME);
        prop_assert!(event.is_none_or(|event| event.process.pid == 42));
    }
}
