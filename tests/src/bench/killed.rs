//! kill -9 of the recorder at random moments under load, over and over.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use super::figure::Figure;
use crate::agent::{self, Agent};
use crate::exec_storm::Storm;
use crate::story;
use crate::world::BIN;

const LOG: &str = "/tmp/afterimage.log";
/// In one world.
const TIMES: u32 = 50;
/// No kill later than this: a world does not live for ever.
const AT_MOST: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "@timestamp")]
    time: Timestamp,
    #[serde(rename = "event.action")]
    action: String,
    #[serde(rename = "afterimage.gap.since")]
    since: Option<Timestamp>,
}

/// Kills and restarts; then looks into the history for what each kill cost.
pub(super) fn measure() -> Result<Vec<Figure>> {
    let program = story::program();
    let mut agent = Agent::start(&program, Path::new(LOG))?;
    let storm = Storm::start(&["--seconds", "150", "--pause-us", "2000"], &Path::new(BIN).join("brief"))?;
    let (mut kills, mut slowest) = (Vec::new(), Duration::ZERO);
    let begun = Instant::now();
    for number in 0..TIMES {
        if begun.elapsed() > AT_MOST {
            break;
        }
        thread::sleep(random_pause(number));
        kills.push(Timestamp::now());
        agent.kill()?;
        ensure!(stopped()?.is_empty(), "left stopped: {:?}", stopped()?);
        let start = Instant::now();
        agent = Agent::start(&program, Path::new(LOG))?;
        slowest = slowest.max(start.elapsed());
    }
    storm.end()?;
    let (mut last, mut gaps) = (vec![Timestamp::UNIX_EPOCH; kills.len()], vec![false; kills.len()]);
    // A line that is no event would end this with an error.
    agent::each_event(&program, |event: Event| {
        for ((kill, last), gap) in kills.iter().zip(&mut last).zip(&mut gaps) {
            if event.time <= *kill && matches!(event.action.as_str(), "fork" | "exec" | "exit") {
                *last = event.time.max(*last);
            }
            *gap |= event.action == "gap"
                && event.since.is_some_and(|since| since <= *kill)
                && event.time >= *kill;
        }
        Ok(())
    })?;
    agent.stop()?;
    let undated = gaps.iter().filter(|gap| !**gap).count();
    let lost = kills.iter().zip(&last).map(|(kill, last)| kill.duration_since(*last).as_secs_f64());
    let (times, lost) = (kills.len(), lost.fold(0.0, f64::max));
    let note = format!("{undated} of them without a dated gap; no process left stopped, no line half-read");
    let slowest = slowest.as_secs_f64();
    Ok(vec![
        Figure::new(format!("most that one of {times} kills cost, s"), lost, format!("{lost:.2}"))
            .at_most(1.0)
            .note(note),
        Figure::new(format!("slowest of {times} restarts, s"), slowest, format!("{slowest:.2}")).at_most(2.0),
    ])
}

/// 100 to 600 ms, another each time.
fn random_pause(number: u32) -> Duration {
    let now = Timestamp::now().subsec_nanosecond().unsigned_abs();
    Duration::from_micros(u64::from(100_000 + now.wrapping_mul(2_654_435_761).wrapping_add(number) % 500_000))
}

/// Processes that stand still.
fn stopped() -> Result<Vec<String>> {
    let stats = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    Ok(stats.filter(|stat| stat.contains(") T ")).collect())
}
