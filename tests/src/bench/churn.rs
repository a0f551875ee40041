//! `cargo xtask bench churn`: half an hour of processes that come and go, in worlds of 140 seconds each, while
//! captures look for what hides. Whatever they find is a false alarm.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Part;
use super::figure::Figure;
use crate::agent::Agent;
use crate::{churn, net, story};

/// Of a world's three minutes.
const TIME: Duration = Duration::from_secs(140);
/// Fewer processes a second are no churn.
const RATE_MIN: f64 = 250.0;

pub(super) const PARTS: [Part; 13] = [
    Part { name: "churn_1", measure },
    Part { name: "churn_2", measure },
    Part { name: "churn_3", measure },
    Part { name: "churn_4", measure },
    Part { name: "churn_5", measure },
    Part { name: "churn_6", measure },
    Part { name: "churn_7", measure },
    Part { name: "churn_8", measure },
    Part { name: "churn_9", measure },
    Part { name: "churn_10", measure },
    Part { name: "churn_11", measure },
    Part { name: "churn_12", measure },
    Part { name: "churn_13", measure },
];

fn measure() -> Result<Vec<Figure>> {
    net::loopback_up()?;
    let agent = Agent::start(&story::program(), Path::new("/tmp/agent.log"))?;
    let churn = churn::watch(&agent, TIME)?;
    ensure!(churn.rate >= RATE_MIN, "only {:.0} processes a second could be started", churn.rate);
    let alarms = churn.alarms.len();
    let first = churn.alarms.first().map_or_else(String::new, |alarm| format!("; the first: {alarm}"));
    Ok(vec![
        Figure::new("false alarms of what hides, under churn", alarms as f64, alarms.to_string())
            .at_most(0.0)
            .note(format!(
                "{} captures in {} s at {:.0} processes a second{first}",
                churn.captures,
                TIME.as_secs(),
                churn.rate
            )),
    ])
}
