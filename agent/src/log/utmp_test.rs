use proptest::prelude::*;

use super::*;

/// A record as login(1) writes it.
fn written(kind: i16, pid: i32, line: &str, user: &str, host: &str, time: u32, address: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&pid.to_le_bytes());
    for (at, text) in [(8, line), (44, user), (76, host)] {
        bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes[340..344].copy_from_slice(&time.to_le_bytes());
    bytes[344..348].copy_from_slice(&7_i32.to_le_bytes());
    bytes[348..352].copy_from_slice(&address);
    bytes
}

const NONE: [u8; 4] = [0; 4];

#[test]
fn a_login_is_told_with_its_end() {
    let bytes = [
        written(2, 0, "~", "reboot", "6.1.0", 100, NONE),
        written(7, 500, "pts/0", "w", "203.0.113.9", 200, [203, 0, 113, 9]),
        written(7, 600, "pts/1", "root", "", 300, NONE),
        written(8, 500, "pts/0", "", "", 400, NONE),
        written(7, 700, "pts/1", "w", "", 500, NONE),
        written(1, 0, "~", "shutdown", "6.1.0", 600, NONE),
    ]
    .concat();
    let stays = stays(records(&bytes));
    let told: Vec<_> =
        stays.iter().map(|stay| (stay.record.what, stay.record.user.as_slice(), stay.until)).collect();
    let seconds = |seconds: i64| seconds * 1_000_000 + 7;
    assert_eq!(
        told,
        [
            (What::Boot, &b"reboot"[..], None),
            (What::Login, b"w", Some((seconds(400), Ended::Logout))),
            (What::Login, b"root", Some((seconds(500), Ended::Replaced))),
            (What::Login, b"w", Some((seconds(600), Ended::Shutdown))),
            (What::RunLevel, b"shutdown", None),
        ]
    );
    let first = &stays[1].record;
    assert_eq!(
        (first.pid, first.time, &*first.line, &*first.host),
        (500, seconds(200), &b"pts/0"[..], &b"203.0.113.9"[..])
    );
    assert_eq!(first.address, Some("203.0.113.9".parse().unwrap()));
    assert!(stays.iter().all(|stay| !stay.earlier));
}

#[test]
fn what_an_intruder_wiped_or_moved_is_seen() {
    let bytes = [
        written(7, 1, "pts/0", "a", "", 300, NONE),
        vec![0; RECORD],
        written(7, 2, "pts/1", "b", "", 200, NONE),
        written(4, 0, "|", "date", "", 400, NONE),
        written(3, 0, "{", "date", "", 100, NONE),
        written(7, 3, "pts/2", "c", "", 150, NONE),
    ]
    .concat();
    let stays = stays(records(&bytes));
    let odd: Vec<(usize, What, bool)> =
        stays.iter().map(|stay| (stay.number, stay.record.what, stay.earlier)).collect();
    assert_eq!(odd[1], (1, What::Blank, false));
    assert!(odd[2].2, "it is before the one before it");
    assert_eq!(odd[5], (5, What::Login, false), "the clock was set back, and that is told");
}

#[test]
fn addresses_are_of_both_kinds() {
    let mut bytes: [u8; 16] = [0; 16];
    assert_eq!(address(bytes), None);
    bytes[15] = 1;
    assert_eq!(address(bytes), Some("::1".parse().unwrap()));
    bytes[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    assert_eq!(address(bytes), Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn lastlog_has_one_record_for_each_uid() {
    let mut bytes = [0; LAST];
    assert_eq!(last(&bytes), None);
    bytes[..4].copy_from_slice(&5_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(b"tty1");
    bytes[36..292].fill(b'h');
    let found = last(&bytes).unwrap();
    assert_eq!((found.time, &*found.line, found.host.len()), (5_000_000, &b"tty1"[..], 256));
}

#[test]
fn half_a_record_is_none() {
    assert_eq!(records(&[7; RECORD - 1]).count(), 0);
    assert_eq!(records(&[7; RECORD * 2 + 1]).count(), 2);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..10_u8, any::<u8>()], 0..4000)) {
        let all = stays(records(&bytes));
        prop_assert!(all.len() <= bytes.len() / RECORD);
    }
}
