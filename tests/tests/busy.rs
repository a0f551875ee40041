//! A miner takes all processors: the recorder must not stand still for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::agent::Agent;
use e2e::{story, world};

const LOG: &str = "/tmp/afterimage.log";
/// Questions asked one after the other.
const QUESTIONS: usize = 12;
/// On a fair scheduler an answer takes some 10 ms; a recorder that yields to everybody needed up to 4 s.
const PATIENCE: Duration = Duration::from_millis(1500);

#[test]
fn a_recorder_on_a_host_that_is_busy_answers() {
    world::inside("a_recorder_on_a_host_that_is_busy_answers", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let slowest = beside_a_miner(|| slowest_answer(&agent))?;
        println!("the slowest of {QUESTIONS} answers beside a miner took {slowest:?}");
        ensure!(slowest < PATIENCE, "an answer took {slowest:?}: the recorder has no processor");
        agent.stop()
    });
}

fn slowest_answer(agent: &Agent) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        agent.status()?;
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(150));
    }
    Ok(slowest)
}

/// Two threads for each processor, which do nothing but take it.
fn beside_a_miner<T>(run: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let threads = thread::available_parallelism().map_or(2, usize::from) * 2;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let outcome = run();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}
