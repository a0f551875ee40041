use proptest::prelude::*;

use super::super::message::testing::attribute;
use super::*;

fn kind(name: &str) -> Kind {
    *KINDS.iter().find(|kind| kind.name == name).unwrap()
}

fn inet_body() -> Vec<u8> {
    let mut body = vec![family::INET, 10, 0, 0];
    body.extend(8080_u16.to_be_bytes());
    body.extend(0_u16.to_be_bytes());
    body.extend([127, 0, 0, 1]);
    body.resize(40, 0);
    body.extend(3_u32.to_ne_bytes());
    body.resize(56, 0);
    body.extend([1_u32, 128, 1001, 4242].map(u32::to_ne_bytes).concat());
    body
}

#[test]
fn an_inet_socket_is_read() {
    let sockets = kind("tcp").sockets(&dump(BY_FAMILY, &inet_body()));
    let [socket] = sockets.as_slice() else { panic!("{sockets:?}") };
    assert_eq!(socket.local.as_deref(), Some("127.0.0.1:8080"));
    assert_eq!((socket.state, socket.uid, socket.inode), ("LISTEN", Some(1001), 4242));
    assert_eq!((socket.receive_queue, socket.send_queue, socket.interface), (1, 128, Some(3)));
}

#[test]
fn a_unix_socket_has_its_name_its_other_end_and_who_waits() {
    let mut body = vec![family::UNIX, 1, 10, 0];
    body.extend([77_u32, 0, 0].map(u32::to_ne_bytes).concat());
    body.extend(attribute(0, b"\0abstract"));
    body.extend(attribute(2, &78_u32.to_ne_bytes()));
    body.extend(attribute(3, &[79_u32, 0].map(u32::to_ne_bytes).concat()));
    body.extend(attribute(4, &[2_u32, 128].map(u32::to_ne_bytes).concat()));
    body.extend(attribute(7, &33_u32.to_ne_bytes()));
    let sockets = kind("unix").sockets(&dump(BY_FAMILY, &body));
    let [socket] = sockets.as_slice() else { panic!("{sockets:?}") };
    assert_eq!(socket.path, Some(Bytes::from("@abstract")));
    assert_eq!((socket.inode, socket.peer, socket.uid), (77, Some(78), Some(33)));
    assert_eq!((&*socket.waiting, socket.receive_queue, socket.send_queue), (&[79, 0][..], 2, 0));
    assert_eq!(unix_name(b"/run/x\0\0"), Bytes::from("/run/x"));
    assert_eq!(unix_name(b""), Bytes::default());
}

#[test]
fn short_answers_are_left_out() {
    for kind in KINDS {
        for length in 0..8 {
            let body = vec![2; length];
            assert_eq!(kind.sockets(&dump(BY_FAMILY, &body)), [], "{} {length}", kind.name);
        }
        assert_eq!(kind.sockets(&dump(BY_FAMILY + 1, &inet_body())), [], "{}", kind.name);
    }
    assert_eq!(kind("tcp").sockets(&dump(BY_FAMILY, &inet_body()[..71])), []);
    let mut other = inet_body();
    other[0] = 99;
    assert_eq!(kind("tcp").sockets(&dump(BY_FAMILY, &other)), []);
}

#[test]
fn requests_have_the_length_that_the_kernel_wants() {
    for kind in KINDS {
        let length = match kind.family {
            family::INET | family::INET6 => 56,
            family::UNIX | family::VSOCK => 24,
            _ => 20,
        };
        assert_eq!(kind.request().len(), 16 + length, "{}", kind.name);
    }
}

proptest! {
    #[test]
    fn any_body_is_read_or_left_out(body: Vec<u8>) {
        for kind in KINDS {
            prop_assert!(kind.sockets(&dump(BY_FAMILY, &body)).len() <= 1);
        }
    }
}
