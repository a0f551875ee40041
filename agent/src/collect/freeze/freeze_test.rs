use std::process::Command;

use super::*;
use crate::collect::testing::Child;

fn sleeper() -> (Child, ProcDir) {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    (child, dir)
}

fn state(dir: &ProcDir) -> u8 {
    dir.thread(dir.id().pid).unwrap().state
}

#[test]
fn by_ptrace_the_threads_have_registers_and_the_state_comes_back() {
    let (_child, dir) = sleeper();
    for policy in [Freeze::Auto, Freeze::Ptrace, Freeze::Cgroup] {
        let mut stop = Freezer::new(policy).stop(&dir);
        assert_eq!((stop.method, stop.len()), (Method::Ptrace, 1), "{stop:?}");
        assert!(!stop.threads[0].registers.is_empty() && stop.until > Instant::now());
        assert_eq!(state(&dir), b't');
        assert!(stop.release().time > Duration::ZERO);
        assert_ne!(state(&dir), b't');
    }
}

#[test]
fn by_policy_nobody_is_held() {
    let (_child, dir) = sleeper();
    let mut stop = Freezer::new(Freeze::None).stop(&dir);
    assert_eq!((stop.method, stop.len(), stop.threads.len()), (Method::None, 0, 1), "{stop:?}");
    assert!(!is_stop(state(&dir)) && stop.threads[0].registers.is_empty());
    assert_eq!(stop.release(), Held::default());
}

#[test]
fn a_process_that_was_stopped_before_is_stopped_after() {
    let (child, dir) = sleeper();
    let process = pidfd::open(child.0.id()).unwrap();
    pidfd::signal(std::os::fd::AsFd::as_fd(&process), libc::SIGSTOP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while state(&dir) != b'T' {
        assert!(Instant::now() < deadline);
    }
    for policy in [Freeze::Auto, Freeze::Stop, Freeze::None] {
        let stop = Freezer::new(policy).stop(&dir);
        assert_eq!(stop.threads.len(), 1, "{stop:?}");
        drop(stop);
        let deadline = Instant::now() + Duration::from_secs(10);
        while state(&dir) != b'T' {
            assert!(Instant::now() < deadline, "{policy:?}: it is {}", char::from(state(&dir)));
        }
    }
}

#[test]
fn what_another_traces_is_left_alone_and_named() {
    let held = crate::system::held::Held::spawn("/bin/true".as_ref()).unwrap();
    let stat =
        crate::proc::Stat::parse(&std::fs::read(format!("/proc/{}/stat", held.pid())).unwrap()).unwrap();
    let id =
        crate::event::ProcessId { boot: crate::event::BootId([1; 16]), pid: held.pid(), start: stat.start };
    let dir = ProcDir::open("/proc".as_ref(), id).unwrap();
    // The tracer is this very process, but not the thread that asks.
    let stop =
        std::thread::scope(|scope| scope.spawn(|| Freezer::new(Freeze::Auto).stop(&dir)).join().unwrap());
    assert_eq!(stop.len(), 0, "{stop:?}");
    // The tracer is told by its thread.
    let note = stop.note.as_deref().unwrap();
    assert!(note.contains("it is traced by pid "), "{note}");
    drop(stop);
    held.kill().unwrap();
}

#[test]
fn two_looks_show_an_exec_and_a_thread() {
    let mut child = Child::spawn(
        Command::new("sh")
            .args(["-c", "echo; read line; exec sleep 60"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped()),
    );
    child.line();
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    let before = TaskList::at(&dir);
    assert_eq!(before.until_now(&dir).lack(), None);
    drop(child.0.stdin.take());
    let deadline = Instant::now() + Duration::from_secs(10);
    while dir.text("comm", 64).unwrap().0 != b"sleep\n" {
        assert!(Instant::now() < deadline);
    }
    let smear = before.until_now(&dir);
    assert_eq!(smear.lack().unwrap().outcome, crate::bundle::Outcome::Partial, "{smear:?}");
}
