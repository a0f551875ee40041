use std::process::{Command, Stdio};

use super::super::testing::{self, Child};
use super::*;

#[test]
fn unified_or_else_the_longest_group_counts() {
    assert_eq!(cgroup(b"1:pids:/a/b\n0::/\n"), Bytes::from("/a/b"));
    assert_eq!(cgroup(b"1:pids:/a/b\n0::/c\n"), Bytes::from("/c"));
    assert_eq!(cgroup(b"nonsense\n"), Bytes::default());
}

#[test]
fn the_other_ends_of_a_childs_pipe_and_unix_socket_are_found() {
    // The child makes both, and its own child inherits one end of each.
    let script = "import os,socket,subprocess,sys\nr,w=os.pipe()\na,b=socket.socketpair()\n\
        p=subprocess.Popen(['sleep','60'],stdin=r,stdout=b,close_fds=True)\nos.close(r)\nb.close()\n\
        print(p.pid,w,a.fileno(),flush=True)\ntry:\n sys.stdin.read()\nfinally:\n p.kill()";
    let mut command = Command::new("python3");
    let mut parent = Child::spawn(command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let line = parent.line();
    let pid: u32 = line.split(' ').next().unwrap().parse().unwrap();
    let stat = crate::proc::Stat::parse(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap();
    let (parent_id, id) = (parent.id(), ProcessId { pid, start: stat.start, ..parent.id() });
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let look = look(Path::new("/proc"), id.boot, &testing::tree(&[parent_id, id]), deadline);
    let peers = look.around.peers(&parent_id);
    let of_child: Vec<&str> =
        peers.iter().filter(|peer| peer.id == id).map(|peer| peer.by.as_str()).collect();
    assert_eq!(of_child.len(), 1, "{peers:?}: each process once");
    let ends: Vec<Object> = look.around.standings[&parent_id]
        .holds
        .iter()
        .filter(|object| look.around.other_ends(**object).any(|holder| holder.process == id))
        .copied()
        .collect();
    assert!(ends.iter().any(|end| matches!(end, Object::Pipe(_))), "{ends:?}");
    let Some(Object::Socket(inode)) = ends.iter().find(|end| matches!(end, Object::Socket(_))) else {
        panic!("{ends:?}")
    };
    assert_eq!(look.around.sockets[inode], "unix stream CONNECTED");
    drop(parent.0.stdin.take());
}
