use super::*;
use crate::event::BootId;

fn id(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: u64::from(pid) }
}

fn around(processes: &[(u32, Standing)]) -> Around {
    let mut around = Around::default();
    for (pid, standing) in processes {
        for (fd, object) in (3..).zip(&standing.holds) {
            around.holders.entry(*object).or_default().push(Holder { process: id(*pid), fd });
        }
        around.standings.insert(id(*pid), standing.clone());
    }
    around
}

fn pids(related: &[Related]) -> Vec<u32> {
    related.iter().map(|one| one.id.pid).collect()
}

#[test]
fn only_the_links_of_pipes_and_sockets_are_objects() {
    assert_eq!(Object::of_link(b"socket:[42]"), Some(Object::Socket(42)));
    assert_eq!(Object::of_link(b"pipe:[7]"), Some(Object::Pipe(7)));
    for link in [
        &b"socket:[]"[..],
        b"socket:[42",
        b"pipe:[4 2]",
        b"/tmp/socket:[42]",
        b"socket:[x]",
        b"socket:[+1]",
        b"socket:[99999999999999999999]",
        b"anon_inode:[7]",
        b"",
    ] {
        assert_eq!(Object::of_link(link), None);
    }
}

#[test]
fn tracers_are_found_from_both_sides() {
    let traced = Standing { tracer: 9, ..Standing::default() };
    let around = around(&[(5, traced), (9, Standing::default()), (10, Standing::default())]);
    assert_eq!(pids(&around.tracers(&id(5))), [9]);
    assert_eq!(pids(&around.tracers(&id(9))), [5]);
    assert!(around.tracers(&id(10)).is_empty());
    assert!(around.tracers(&id(77)).is_empty());
}

#[test]
fn the_other_end_is_who_holds_the_pipe_or_the_joined_socket() {
    let holds = |holds: &[Object]| Standing { holds: holds.to_vec(), ..Standing::default() };
    let mut around = around(&[
        (5, holds(&[Object::Pipe(1), Object::Socket(20)])),
        (6, holds(&[Object::Pipe(1)])),
        (7, holds(&[Object::Socket(21)])),
        (8, holds(&[Object::Socket(22), Object::Pipe(2)])),
    ]);
    around.joined = HashMap::from([(20, vec![21]), (21, vec![20])]);
    around.sockets.insert(20, "unix stream /run/x CONNECTED".to_owned());
    let found = around.peers(&id(5));
    assert_eq!(pids(&found), [7, 6], "what fewer hold comes first");
    assert_eq!((found[0].by.as_str(), found[1].by.as_str()), ("unix stream /run/x CONNECTED", "pipe 1"));
    assert_eq!(pids(&around.peers(&id(7))), [5]);
    assert!(around.peers(&id(8)).is_empty());
}

#[test]
fn a_session_and_a_container_are_those_of_the_target() {
    let standing =
        |session, cgroup: &str| Standing { session, cgroup: Bytes::from(cgroup), ..Standing::default() };
    let container = format!("/docker/{}", "ab".repeat(32));
    let around = around(&[
        (5, standing(5, &container)),
        (6, standing(5, "/")),
        (7, standing(0, &format!("{container}/init"))),
        (8, standing(0, &format!("{container}x"))),
        (9, standing(0, "/")),
    ]);
    assert_eq!(pids(&around.session(&id(5))), [6]);
    assert!(around.session(&id(9)).is_empty(), "the session 0 is that of nobody in view");
    assert_eq!(pids(&around.container(&id(5))), [7]);
    assert_eq!(pids(&around.container(&id(7))), [5], "from inside the container's own groups as well");
    assert!(around.container(&id(9)).is_empty(), "the root is no container");
}

#[test]
fn the_part_of_a_path_that_is_a_container_is_found() {
    let pod = format!("/kubepods.slice/cri-containerd-{}.scope", "0a".repeat(32));
    for (path, expected) in [
        (pod.clone() + "/system.slice/x", Some(pod.as_str())),
        ("/system.slice/nginx.service".to_owned(), Some("/system.slice/nginx.service")),
        ("/".to_owned(), None),
        (String::new(), None),
        ("/init.scope".to_owned(), None),
        ("/dead/beef".to_owned(), Some("/dead/beef")),
    ] {
        assert_eq!(group(path.as_bytes()), expected.map(str::as_bytes), "{path}");
    }
}
