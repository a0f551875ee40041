//! The private world keeps its promise: nothing of the machine is in reach.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use e2e::net::{ATTACKER, ATTACKER6, Namespace, VICTIM, VICTIM6};
use e2e::world;

#[test]
fn the_machine_is_out_of_reach() {
    world::inside("the_machine_is_out_of_reach", || {
        let pids = pids()?;
        ensure!(pids.len() <= 3, "bubblewrap, its init and this test, and nobody else: {pids:?}");
        for folder in ["/home", "/root", "/tmp"] {
            let names: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name()).collect();
            ensure!(names.iter().all(|name| name == "wasiluser"), "{folder} holds {names:?}");
        }
        for (folder, known) in [
            ("/sys", &["kernel", "bus", "devices"][..]),
            ("/sys/kernel", &["btf"]),
            ("/sys/bus", &["event_source"]),
            ("/sys/bus/event_source", &["devices"]),
        ] {
            let mut names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
            let other = names.find(|name| !known.iter().any(|known| name == known));
            ensure!(other.is_none(), "{folder} holds {other:?}");
        }
        let devices = fs::read_dir("/sys/devices").into_iter().flatten().flatten();
        ensure!(devices.into_iter().all(|entry| entry.file_name() == "kprobe"), "devices of the machine");
        ensure!(fs::File::create("/sys/bus/event_source/devices/x").is_err(), "/sys can be written");
        ensure!(fs::write("/proc/sys/kernel/hostname", "x").is_err(), "a sysctl can be set");
        ensure!(fs::write("/usr/afterimage-was-here", "x").is_err(), "/usr can be written");
        ensure!(fs::write("/afterimage-was-here", "x").is_err(), "/ can be written");
        let devices = fs::read_to_string("/proc/net/dev")?;
        ensure!(devices.lines().count() == 3, "a network device besides lo: {devices}");
        Ok(())
    });
}

#[test]
fn outside_it_refuses_to_go_on() {
    assert!(world::assert_private().is_err());
}

#[test]
#[should_panic(expected = "the world of `a_failure_inside_is_a_failure_outside` failed")]
fn a_failure_inside_is_a_failure_outside() {
    world::inside("a_failure_inside_is_a_failure_outside", || {
        std::process::exit(1);
    });
}

#[test]
#[should_panic(expected = "the test's body did not run")]
fn a_wrong_name_is_noticed() {
    world::inside("no_such_test", || Ok(()));
}

#[test]
fn two_hosts_speak_over_ipv4_and_ipv6() {
    world::inside("two_hosts_speak_over_ipv4_and_ipv6", || {
        let attacker = Namespace::attacker()?;
        for (from, to) in [(ATTACKER, VICTIM), (ATTACKER6, VICTIM6)] {
            let listener = TcpListener::bind((to, 3000)).with_context(|| format!("listen at {to}"))?;
            let client = attacker.run(|| -> Result<()> {
                TcpStream::connect((to, 3000))?.write_all(b"hello")?;
                Ok(())
            });
            let (mut stream, peer) = listener.accept()?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            ensure!(text == "hello" && peer.ip().to_string() == from, "{text} from {peer}");
            client??;
        }
        Ok(())
    });
}

fn pids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect())
}
