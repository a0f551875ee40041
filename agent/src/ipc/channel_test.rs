use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::message::Body;
use super::*;

fn raw_packet(channel: &Channel, bytes: &[u8], numbers: &[i32]) {
    let rights = [ControlMessage::ScmRights(numbers)];
    let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(channel.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)
        .unwrap();
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_long_message_and_a_descriptor_arrive_whole() {
    let (one, other) = Channel::pair().unwrap();
    let body: Vec<u8> = (0..700_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = Body(body);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| other.recv::<Body>().unwrap().unwrap());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"evidence").unwrap();
        one.send(&sent, &[file.as_fd()]).unwrap();
        let (received, descriptors) = reading.join().unwrap();
        assert!(received == sent);
        let mut file = std::fs::File::from(descriptors.into_iter().next().unwrap());
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "evidence");
    });
}

#[test]
fn what_is_over_the_bounds_is_not_sent() {
    let (one, _other) = Channel::pair().unwrap();
    let long = "x".repeat(MESSAGE_MAX);
    assert!(matches!(one.send(&long, &[]), Err(Error::TooLong)));
    let descriptor = one.as_fd();
    assert!(matches!(one.send(&1, &[descriptor; 5]), Err(Error::TooManyDescriptors)));
}

#[test]
fn what_is_over_the_bounds_is_not_received() {
    let (one, other) = Channel::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let packet = [vec![1], vec![b' '; 32 * 1024]].concat();
            for _ in 0..33 {
                raw_packet(&one, &packet, &[]);
            }
        });
        assert!(matches!(other.recv::<u8>(), Err(Error::TooLong)));
    });
    let (one, other) = Channel::pair().unwrap();
    raw_packet(&one, &vec![0; 64 * 1024], &[]);
    assert!(matches!(other.recv::<u8>(), Err(Error::Truncated)), "a packet that does not fit");
    raw_packet(&one, &[7, b'1'], &[]);
    assert!(matches!(other.recv::<u8>(), Err(Error::Truncated)), "an unknown marker");
    raw_packet(&one, &[0, b'{'], &[]);
    assert!(matches!(other.recv::<u8>(), Err(Error::Malformed(_))));
    raw_packet(&one, &[0], &[]);
    assert!(matches!(other.recv::<u8>(), Err(Error::Malformed(_))), "an empty message");
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let (one, other) = Channel::pair().unwrap();
    let number = one.as_fd().as_raw_fd();
    raw_packet(&one, &[0, b'1'], &[number; 200]);
    assert!(matches!(other.recv::<u8>(), Err(Error::TooManyDescriptors)));
    drop(other);

    let (one, other) = Channel::pair().unwrap();
    let other = other.without_descriptors();
    raw_packet(&one, &[0, b'1'], &[number]);
    assert!(matches!(other.recv::<u8>(), Err(Error::Truncated)));
}

#[test]
fn the_end_is_told_from_a_message_cut_off() {
    let (one, other) = Channel::pair().unwrap();
    one.send(&1, &[]).unwrap();
    drop(one);
    assert_eq!(other.recv::<u8>().unwrap().unwrap().0, 1);
    assert!(other.recv::<u8>().unwrap().is_none());

    let (one, other) = Channel::pair().unwrap();
    raw_packet(&one, &[1, b'1'], &[]);
    drop(one);
    assert!(matches!(other.recv::<u8>(), Err(Error::Truncated)));
}

#[test]
fn without_waiting_half_a_message_is_kept_until_the_rest_comes() {
    let (one, other) = Channel::pair().unwrap();
    assert!(matches!(other.try_recv::<u8>(), Err(Error::WouldBlock)));
    raw_packet(&one, &[1, b'4'], &[]);
    assert!(matches!(other.try_recv::<u8>(), Err(Error::WouldBlock)));
    raw_packet(&one, &[0, b'2'], &[]);
    assert_eq!(other.try_recv::<u8>().unwrap().unwrap().0, 42);
}

#[test]
fn a_peer_that_does_not_read_is_noticed() {
    let (one, other) = Channel::pair().unwrap();
    let full = (0..100_000).find_map(|_| one.try_send(&"event", &[]).err());
    assert!(matches!(full, Some(Error::WouldBlock)));
    drop(other);
    let (one, _other) = Channel::pair().unwrap();
    assert!(matches!(one.try_send(&"x".repeat(MESSAGE_MAX - 2), &[]), Err(Error::Stalled)));
}

#[test]
fn the_listener_is_private_and_takes_over_only_what_is_dead() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Listener::bind(&path).is_err(), "a living one is left alone");
    let client = Channel::connect(&path).unwrap();
    let served = std::iter::repeat_with(|| listener.accept().unwrap()).take(2).last().unwrap();
    assert_eq!(served.peer().unwrap().uid, nix::unistd::getuid().as_raw());
    client.send(&Request::Status, &[]).unwrap();
    assert_eq!(served.recv::<Request>().unwrap().unwrap().0, Request::Status);
    drop(listener);
    Listener::bind(&path).unwrap();
}

#[test]
fn descriptors_do_not_leak_when_a_message_is_refused() {
    let (one, other) = Channel::pair().unwrap();
    let extra: OwnedFd = tempfile::tempfile().unwrap().into();
    let before = open_descriptors();
    for _ in 0..50 {
        raw_packet(&one, &[0, b'{'], &[extra.as_raw_fd()]);
        assert!(matches!(other.recv::<u8>(), Err(Error::Malformed(_))));
    }
    // Other tests of this process open files too, but never so many at once.
    assert!(open_descriptors() < before + 40);
}
