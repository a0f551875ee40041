use std::fs;
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};

use super::*;
use crate::proc::Stat;

/// A guard in a thread, and a process that it may hold.
struct Scene {
    collector: Channel,
    guard: JoinHandle<()>,
    child: Child,
    process: OwnedFd,
}

impl Scene {
    fn begin() -> Self {
        let (collector, theirs) = Channel::pair().unwrap();
        collector.set_timeout(Duration::from_secs(10)).unwrap();
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        // What may be held is, in these tests, also what the guard would end.
        let process = pidfd::open(child.id()).unwrap();
        let ended = pidfd::open(child.id()).unwrap();
        let guard = thread::spawn(move || serve(&theirs, &ended).unwrap());
        Self { collector, guard, child, process }
    }

    fn ask(&self, ask: &Ask) -> Answer {
        self.collector.send(ask, &[self.process.as_fd()]).unwrap();
        self.collector.recv::<Answer>().unwrap().unwrap().0
    }

    fn hold(&self, ms: u64) {
        let answer = self.ask(&Ask::Hold { hold: Hold::Signal, ms });
        assert!(matches!(answer, Answer::Holds(Ok(()))), "{answer:?}");
        self.becomes(b'T');
    }

    /// Waits for the state.
    fn becomes(&self, state: u8) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read(format!("/proc/{}/stat", self.child.id())).unwrap();
            let found = Stat::parse(&text).unwrap().state;
            if found == state {
                return;
            }
            assert!(Instant::now() < deadline, "its state is {}", char::from(found));
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn what_is_held_is_let_go_when_it_is_asked_for() {
    let scene = Scene::begin();
    scene.hold(60_000);
    let second = scene.ask(&Ask::Hold { hold: Hold::Signal, ms: 1 });
    assert!(matches!(&second, Answer::Holds(Err(why)) if why.contains("already")), "{second:?}");
    let answer = scene.ask(&Ask::Release);
    assert!(matches!(answer, Answer::Released { in_time: true, micros } if micros > 0), "{answer:?}");
    scene.becomes(b'S');
    let answer = scene.ask(&Ask::Release);
    assert!(matches!(answer, Answer::Released { in_time: true, micros: 0 }), "{answer:?}");
}

#[test]
fn when_its_time_is_over_it_is_let_go_whatever_the_collector_does() {
    let scene = Scene::begin();
    scene.hold(100);
    scene.becomes(b'S');
    let answer = scene.ask(&Ask::Release);
    assert!(matches!(answer, Answer::Released { in_time: false, micros } if micros >= 100_000), "{answer:?}");
}

#[test]
fn when_the_collector_ends_it_is_let_go_and_the_guard_ends() {
    let scene = Scene::begin();
    scene.hold(60_000);
    scene.collector.shut_down();
    scene.becomes(b'S');
    let deadline = Instant::now() + Duration::from_secs(10);
    while !scene.guard.is_finished() {
        assert!(Instant::now() < deadline, "the guard has not ended");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_cannot_be_held_is_an_answer_and_does_not_end_the_guard() {
    let scene = Scene::begin();
    scene.collector.send(&Ask::Hold { hold: Hold::Signal, ms: 10 }, &[]).unwrap();
    let (answer, _) = scene.collector.recv::<Answer>().unwrap().unwrap();
    assert!(matches!(&answer, Answer::Holds(Err(why)) if why.contains("descriptor")), "{answer:?}");
    // A pidfd is no file of a cgroup.
    let answer = scene.ask(&Ask::Hold { hold: Hold::Cgroup2, ms: 10 });
    assert!(matches!(answer, Answer::Holds(Err(_))), "{answer:?}");
    scene.hold(60_000);
}

#[test]
fn a_collector_that_does_not_let_go_what_it_traces_is_ended() {
    let scene = Scene::begin();
    scene.collector.send(&Ask::Trace { ms: 60_000 }, &[]).unwrap();
    scene.collector.send(&Ask::Traced, &[]).unwrap();
    scene.collector.send(&Ask::Trace { ms: 50 }, &[]).unwrap();
    scene.becomes(b'Z');
}

#[test]
fn one_that_does_is_not() {
    let scene = Scene::begin();
    for _ in 0..2 {
        scene.collector.send(&Ask::Trace { ms: 1000 }, &[]).unwrap();
    }
    for _ in 0..2 {
        scene.collector.send(&Ask::Traced, &[]).unwrap();
    }
    // Later than the tracing was to end.
    scene.hold(1200);
    scene.becomes(b'S');
}
