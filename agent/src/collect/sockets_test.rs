use super::*;

fn tcp(inode: u64, local: &str, remote: &str) -> Socket {
    let addresses = Some((local.parse().unwrap(), remote.parse().unwrap()));
    Socket { protocol: "tcp", inode, addresses, ..Socket::default() }
}

fn ends(all: &[(u32, Socket)]) -> HashMap<u64, Vec<u64>> {
    joined(&all.iter().map(|(namespace, socket)| (*namespace, socket)).collect::<Vec<_>>())
}

#[test]
fn a_connection_over_loopback_is_joined_within_its_namespace_only() {
    let server = tcp(1, "127.0.0.1:80", "127.0.0.1:4000");
    let client = Socket { protocol: "tcp6", ..tcp(2, "[::ffff:127.0.0.1]:4000", "[::ffff:127.0.0.1]:80") };
    let listener = tcp(3, "127.0.0.1:80", "0.0.0.0:0");
    let found = ends(&[(1, server.clone()), (1, client.clone()), (1, listener)]);
    assert_eq!(found, HashMap::from([(1, vec![2]), (2, vec![1])]));
    assert_eq!(ends(&[(1, server), (2, client)]), HashMap::new());
}

#[test]
fn a_connection_between_namespaces_of_this_host_is_joined() {
    let here = tcp(1, "192.0.2.10:80", "192.0.2.66:4000");
    let there = tcp(2, "192.0.2.66:4000", "192.0.2.10:80");
    assert_eq!(ends(&[(1, here), (2, there)]), HashMap::from([(1, vec![2]), (2, vec![1])]));
}

#[test]
fn unix_sockets_are_joined_as_the_kernel_says() {
    let unix = |inode, peer, waiting: &[u64]| Socket {
        protocol: "unix stream",
        inode,
        peer,
        waiting: waiting.to_vec(),
        ..Socket::default()
    };
    let found = ends(&[(1, unix(1, Some(2), &[])), (1, unix(2, Some(1), &[])), (1, unix(3, None, &[4, 0]))]);
    assert_eq!(found, HashMap::from([(1, vec![2]), (2, vec![1]), (3, vec![4]), (4, vec![3])]));
}

#[test]
fn texts_that_list_no_sockets_give_none() {
    for name in ["route", "packet", "netlink", "vsock", "", "tcp"] {
        assert_eq!(of_text(name, b"garbage\n1: 2 3\n"), []);
    }
}
