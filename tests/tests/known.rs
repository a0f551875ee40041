//! What the agent reports of children of which everything is known; the VM asks the same on other kernels.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::agent::{self, Agent};
use e2e::events::nothing_was_lost;
use e2e::known::Known;
use e2e::{story, world};

/// What is older than this when the recorder is killed must be on disk.
const PROMISED: Duration = Duration::from_secs(1);
const LOG: &str = "/tmp/afterimage.log";

#[test]
fn events_say_what_proc_says() {
    world::inside("events_say_what_proc_says", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let accounts = children()?;
        agent.stop()?;
        let events = agent::history(&program)?;
        nothing_was_lost(&events)?;
        accounts.iter().try_for_each(|account| account.compare(&events))
    });
}

/// A second is what may be lost: the open frame of the history.
#[test]
fn history_outlives_a_killed_recorder() {
    world::inside("history_outlives_a_killed_recorder", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let accounts = children()?;
        // The second itself is what is tested: no sign is waited for, and the recorder is not asked for anything.
        thread::sleep(PROMISED);
        agent.kill()?;
        let again = Agent::start(&program, Path::new(LOG))?;
        let events = again.history()?;
        again.stop()?;
        accounts.iter().try_for_each(|account| account.compare(&events))?;
        let gaps = events.iter().filter(|event| event["event.action"] == "gap").count();
        ensure!(gaps > 0, "the time without sight is not in the history");
        Ok(())
    });
}

fn children() -> Result<Vec<e2e::known::Account>> {
    let itself = Path::new("/out/bin/init");
    let four = Known::start(itself, "127.0.0.1", 0)?;
    let six = Known::start(itself, "::1", 7)?;
    let killed = Known::start(itself, "127.0.0.1", 1)?;
    Ok(vec![four.let_go()?, six.let_go()?, killed.kill()?])
}
