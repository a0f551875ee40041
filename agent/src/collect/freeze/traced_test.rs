use std::process::Command;

use super::*;
use crate::collect::testing::Child;
use crate::proc::Status;

fn tracer(pid: u32) -> u32 {
    Status::parse(&std::fs::read(format!("/proc/{pid}/status")).unwrap()).unwrap().tracer
}

#[test]
fn a_process_is_let_go_when_its_time_is_over_whatever_the_reader_does() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let pid = child.id().pid;
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    let mut stop = Traced::all(&dir, Duration::from_millis(200), None);
    assert_eq!((stop.len(), stop.threads.len()), (1, 1), "{:?}", stop.refused);
    assert_ne!(tracer(pid), 0);
    // The reader hangs here, and never asks.
    let deadline = Instant::now() + Duration::from_secs(10);
    while tracer(pid) != 0 {
        assert!(Instant::now() < deadline, "it is still held");
        thread::sleep(Duration::from_millis(1));
    }
    let held = stop.release();
    assert!(held.time >= Duration::from_millis(200) && held.lingering.is_empty(), "{held:?}");
}

#[test]
fn a_stop_that_is_dropped_lets_go_at_once_also_of_what_never_stopped() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let pid = child.id().pid;
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    drop(Traced::all(&dir, Duration::from_mins(10), None));
    assert_eq!(tracer(pid), 0);
    // As if it were in an uninterruptible wait: seized, never seen to stop, and its tracer ends.
    let seized = move || ptrace::seize_and_interrupt(pid).unwrap();
    thread::spawn(seized).join().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while tracer(pid) != 0 {
        assert!(Instant::now() < deadline, "it is still held");
        thread::sleep(Duration::from_millis(1));
    }
}
