use std::process::{Command, Stdio};

use super::super::testing::{self, Child};
use crate::bundle::Outcome;
use crate::plan::Step;

#[test]
fn a_childs_listener_is_found_with_its_owner_and_descriptor() {
    let script = "import socket,sys,time\ns=socket.create_server(('127.0.0.1',0))\n\
        print(s.fileno(), s.getsockname()[1], flush=True)\ntime.sleep(60)";
    let mut child = Child::spawn(Command::new("python3").args(["-c", script]).stdout(Stdio::piped()));
    let line = child.line();
    let (fd, port) = line.trim().split_once(' ').unwrap();
    let id = child.id();
    let taken = testing::take(&testing::job(), &testing::tree(&[id]), &[id], &[Step::Network, Step::Process]);
    let rows: serde_json::Value = serde_json::from_slice(&taken.members["network/sockets.json"]).unwrap();
    let local = format!("127.0.0.1:{port}");
    let row = rows.as_array().unwrap().iter().find(|row| row["local"] == *local).expect("the listener");
    assert_eq!(row["state"], "LISTEN");
    assert_eq!(row["owners"][0]["pid"], id.pid);
    assert_eq!(row["owners"][0]["fd"].to_string(), fd);
    let fds: serde_json::Value =
        serde_json::from_slice(&taken.members[&format!("process/{}/fd.json", id.short())]).unwrap();
    let found = fds.as_array().unwrap().iter().find(|row| row["fd"] == fd.parse::<u32>().unwrap()).unwrap();
    assert_eq!(found["socket"], format!("tcp {local} -> 0.0.0.0:0 LISTEN"));
    let namespace = row["namespace"].to_string();
    assert_eq!(taken.outcome(&format!("net:[{namespace}] tcp")).0, Outcome::Ok);
    assert!(taken.members[&format!("network/{namespace}/route")].starts_with(b"Iface"));
}
