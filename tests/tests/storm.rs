//! Processes as fast as the machine can start them: every one is in the history, or its loss is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Result, ensure};
use e2e::agent::Agent;
use e2e::exec_storm::recorded::{self, Recorded};
use e2e::exec_storm::{Account, Storm};
use e2e::world::BIN;
use e2e::{story, wait, world};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOG: &str = "/tmp/afterimage.log";
/// How long the recorder stands still.
const STOPPED: Duration = Duration::from_secs(5);

#[test]
fn every_life_of_a_storm_is_stored_or_counted_as_lost() {
    world::inside("every_life_of_a_storm_is_stored_or_counted_as_lost", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let (storm, recorded) = watched(&agent, "10", || Ok(()))?;
        println!("the storm: {storm:?}\nin the history: {:?}; {} lost", recorded.by_kind, recorded.lost());
        agent.stop()
    });
}

#[test]
fn what_a_stopped_recorder_loses_is_counted_and_dated() {
    world::inside("what_a_stopped_recorder_loses_is_counted_and_dated", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let recorder = Pid::from_raw(i32::try_from(agent.pid())?);
        let mut stop = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let (storm, recorded) = watched(&agent, "15", || {
            thread::sleep(Duration::from_secs(4));
            kill(recorder, Signal::SIGSTOP)?;
            wait::until("the recorder to stand still", STOPPED, || {
                Ok(is_stopped(agent.pid())?.then_some(()))
            })?;
            stop.0 = Timestamp::now();
            thread::sleep(STOPPED);
            stop.1 = Timestamp::now();
            kill(recorder, Signal::SIGCONT)?;
            Ok(())
        })?;
        println!("the storm: {storm:?}\nin the history: {:?}; {} lost", recorded.by_kind, recorded.lost());
        let of_the_stop = recorded.losses.iter().filter(|loss| loss.since <= stop.0 && loss.until >= stop.1);
        let dated: u64 = of_the_stop.map(|loss| loss.count).sum();
        match recorded.lost() {
            0 => println!("0 lost: the ring held what came in {STOPPED:?}"),
            lost => {
                println!("{lost} lost and counted, {dated} of them dated over the stop");
                ensure!(dated > 0, "no loss covers the stop {stop:?}: {:?}", recorded.losses);
            }
        }
        agent.stop()
    });
}

/// Runs a storm and compares what the agent has of it with the storm's own account.
fn watched(
    agent: &Agent,
    seconds: &str,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<(Account, Recorded)> {
    let brief = brief();
    let before = recorded::lost(&agent.status()?)?;
    let storm = Storm::start(&["--seconds", seconds], &brief)?;
    meanwhile()?;
    let storm = storm.account()?;
    let recorded = Recorded::read(&story::program(), &storm, &brief)?;
    let after = recorded::lost(&agent.status()?)?;
    let lost: BTreeMap<_, _> = after
        .into_iter()
        .map(|(kind, count)| {
            let before = before.get(&kind).copied().unwrap_or_default();
            (kind, count - before)
        })
        .collect();
    recorded.compare(&storm, &lost)?;
    Ok((storm, recorded))
}

fn brief() -> PathBuf {
    Path::new(BIN).join("brief")
}

/// State `T` in its stat.
fn is_stopped(pid: u32) -> Result<bool> {
    Ok(fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") T "))
}
