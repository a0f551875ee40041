//! What the agent's history holds of a storm, against the storm's own account.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Account;
use crate::agent;

/// What makes up a life.
const KINDS: [&str; 3] = ["fork", "exec", "exit"];

/// Of an event, what is looked at here.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "@timestamp")]
    time: Timestamp,
    #[serde(rename = "event.action")]
    action: String,
    #[serde(rename = "process.entity_id")]
    process: String,
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "process.parent.entity_id")]
    parent: Option<String>,
    #[serde(rename = "process.executable")]
    executable: Option<String>,
    #[serde(rename = "process.args", default)]
    args: Vec<String>,
    #[serde(rename = "afterimage.source")]
    source: Value,
    #[serde(rename = "afterimage.loss.place")]
    place: Option<String>,
    #[serde(rename = "afterimage.loss.count", default)]
    count: u64,
    #[serde(rename = "afterimage.loss.since")]
    since: Option<Timestamp>,
    #[serde(rename = "message", default)]
    message: String,
}

/// A dated loss of the probe's events, as the history says it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// They were lost from then on,
    pub since: Timestamp,
    /// and until then.
    pub until: Timestamp,
    /// Which, in words.
    pub message: String,
}

/// The lives of a storm that are in the history.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Lives of which an event of this kind is there.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Arguments of the lives whose exec is there, each once.
    lives: HashSet<String>,
    /// Pids of those with the mark.
    marked: Vec<u32>,
    /// What the history says was lost of the probe's events.
    pub losses: Vec<Loss>,
    /// By cpu: the numbers of its records that are there: lowest, highest, how many.
    numbers: HashMap<u64, (u64, u64, u64)>,
    /// The same life told twice.
    doubles: u64,
}

impl Recorded {
    /// Reads the history, down to what the storm made of `program`.
    pub fn read(agent: &Path, storm: &Account, program: &Path) -> Result<Self> {
        let program = program.to_str().context("an odd path")?;
        let storm_id = format!("-{}-", storm.pid);
        let mut recorded = Self::default();
        let (mut others, mut started) = (HashSet::new(), false);
        let (mut seen, mut exits) = (HashSet::new(), HashSet::new());
        agent::each_event(agent, |event: Event| {
            // Records of the probe's check of itself, before that, are nobody's events.
            started = started || (event.action == "exec" && event.pid == storm.pid);
            if started {
                recorded.number(&event);
            }
            let of_storm = event.parent.as_ref().is_some_and(|parent| parent.contains(&storm_id));
            match event.action.as_str() {
                "exec" if of_storm && event.executable.as_deref() == Some(program) => recorded.exec(event)?,
                "exec" | "running" => drop(others.insert(event.process)),
                "fork" if of_storm => drop(seen.insert(event.process)),
                "fork" => drop(others.insert(event.process)),
                "exit" => drop(exits.insert(event.process)),
                "loss" if event.place.as_deref() != Some("stash") => recorded.losses.push(Loss {
                    count: event.count,
                    since: event.since.context("a loss without a beginning")?,
                    until: event.time,
                    message: event.message,
                }),
                _ => {}
            }
            Ok(())
        })?;
        let exits = exits.iter().filter(|process| !others.contains(*process)).count();
        let counts = [seen.len(), recorded.lives.len(), exits];
        recorded.by_kind = KINDS.into_iter().zip(counts.map(|count| count as u64)).collect();
        Ok(recorded)
    }

    fn exec(&mut self, event: Event) -> Result<()> {
        let [_, number, mark @ ..] = &event.args[..] else { anyhow::bail!("odd arguments {:?}", event.args) };
        if mark == ["marked"] {
            self.marked.push(event.pid);
        }
        self.doubles += u64::from(!self.lives.insert(number.clone()));
        Ok(())
    }

    fn number(&mut self, event: &Event) {
        let probe = &event.source["probe"];
        if let (Some(cpu), Some(number)) = (probe["cpu"].as_u64(), probe["seq"].as_u64()) {
            let (low, high, count) = self.numbers.entry(cpu).or_insert((number, number, 0));
            (*low, *high, *count) = (number.min(*low), number.max(*high), *count + 1);
        }
    }

    /// How many events were lost, as the history says.
    pub fn lost(&self) -> u64 {
        self.losses.iter().map(|loss| loss.count).sum()
    }

    /// Fails unless the history and `lost` (what the agent's status says was lost during the storm, by kind) together
    /// account for every life, kind by kind and cpu by cpu, and the marked one is there.
    pub fn compare(&self, storm: &Account, lost: &BTreeMap<String, u64>) -> Result<()> {
        ensure!(self.doubles == 0, "{} lives are told twice", self.doubles);
        for (kind, stored) in &self.by_kind {
            let lost = lost.get(*kind).copied().unwrap_or_default();
            ensure!(
                stored + lost == storm.lives,
                "{kind}: {} attempted, {stored} stored and {lost} lost: {} not accounted for\n{:?}",
                storm.lives,
                i128::from(storm.lives) - i128::from(stored + lost),
                self.losses
            );
        }
        let said: u64 = lost.values().sum();
        ensure!(
            said == self.lost(),
            "the status says {said} lost, the history {}: {:?}",
            self.lost(),
            self.losses
        );
        for (cpu, (low, high, count)) in &self.numbers {
            let on_cpu = self.losses.iter().filter(|loss| loss.message.contains(&format!("on cpu {cpu}:")));
            let lost: u64 = on_cpu.map(|loss| loss.count).sum();
            ensure!(
                high - low + 1 == count + lost,
                "cpu {cpu}: records {low} to {high}, {count} stored and {lost} lost"
            );
        }
        let marked: Vec<u32> = storm.marked.into_iter().collect();
        ensure!(
            self.marked == marked || lost.get("exec").is_some_and(|lost| *lost > 0),
            "marked is {marked:?}, and the history has {:?}",
            self.marked
        );
        Ok(())
    }

    /// Whether the marked life is there.
    pub fn has_marked(&self) -> bool {
        self.marked.len() == 1
    }
}

/// What the status counts as lost, by kind.
pub fn lost(status: &Value) -> Result<BTreeMap<String, u64>> {
    let kinds =
        status["counts"]["kernel"]["kinds"].as_object().with_context(|| format!("no kinds in {status}"))?;
    kinds.iter().map(|(kind, row)| Ok((kind.clone(), row["lost"].as_u64().context("no number")?))).collect()
}
