//! What the bundle holds against what happened.

mod lineage;

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::digest::sha256;
use crate::drill::{CALLBACKS, FLASH_CODE, FLASHES, Record};
use crate::events::{self, Process, nothing_was_lost};
use crate::judges::Bag;
use crate::net::ATTACKER;
use crate::proc::Seen;

/// How far the kernel's time of a connection and the attacker's time of its acceptance may lie apart.
const CLOCKS_APART_NS: i128 = 250_000_000;
const MILLISECOND_NS: i128 = 1_000_000;

/// What there is to look at.
pub struct Evidence<'a> {
    bag: &'a Bag,
    /// capture.json
    pub manifest: Value,
    /// Every event of data/history.
    pub events: Vec<Value>,
}

impl<'a> Evidence<'a> {
    /// Reads the bag with tools that are not ours (zstd).
    pub fn of(bag: &'a Bag) -> Result<Self> {
        let manifest = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        let events = events::read(&bag.file("data/history"))?;
        Ok(Self { bag, manifest, events })
    }

    /// Every claim, as a sentence; fails at the first that does not hold.
    pub fn compare(&self, record: &Record) -> Result<Vec<String>> {
        Ok(vec![
            self.lineage(record).context("claim: the lineage")?,
            self.targets(record).context("claim: the targets")?,
            self.inbound(record).context("claim: the inbound connections")?,
            self.executables(record).context("claim: the executables")?,
            self.callbacks(record).context("claim: the call-backs")?,
            self.flashes(record).context("claim: the short steps")?,
            self.hidden().context("claim: the hidden directory")?,
            self.losses().context("claim: no losses")?,
        ])
    }

    fn find(&self, seen: &Seen) -> Result<Process<'_>> {
        Process::find(&self.events, seen)
    }

    fn inbound(&self, record: &Record) -> Result<String> {
        let service = self.find(&record.service)?;
        let count = service.all("accept").filter(|event| event["destination.ip"] == ATTACKER).count();
        ensure!(count == 2, "{count} accepted connections of the attacker, and there were 2");
        Ok(format!("the service's inbound connections from {ATTACKER}"))
    }

    fn executables(&self, record: &Record) -> Result<String> {
        for name in ["x", "vim"] {
            let known = record.sha256.get(name).context("no hash")?;
            let kept = self.bag.file(&format!("data/stash/{known}"));
            let found = sha256(&kept)
                .with_context(|| format!("the executable of {name}; attempts: {}", self.attempts("stash")))?;
            ensure!(&found == known, "{name}: {} holds {found}", kept.display());
        }
        Ok("the executables of `x` and `vim`, deleted before the alert, by their SHA-256".to_owned())
    }

    /// What the manifest says of one collection.
    fn attempts(&self, collection: &str) -> String {
        let attempts = self.manifest["attempts"].as_array().into_iter().flatten();
        let lines = attempts.filter(|attempt| attempt["collection"] == collection).map(ToString::to_string);
        lines.collect::<Vec<_>>().join("\n")
    }

    fn callbacks(&self, record: &Record) -> Result<String> {
        let vim = self.find(&record.vim)?;
        let connects: Vec<_> = vim.all("connect").collect();
        ensure!(connects.len() == CALLBACKS, "{} call-backs, and there were {CALLBACKS}", connects.len());
        for (event, known) in connects.iter().zip(&record.callbacks) {
            ensure!(event["destination.ip"] == ATTACKER && event["destination.port"] == 4444, "{event}");
            ensure!(event["source.ip"] == known.ip.as_str(), "{event} {known:?}");
            let apart = nanoseconds(event)? - i128::try_from(known.time)?;
            ensure!(apart.abs() < CLOCKS_APART_NS, "{event} was seen {apart} ns apart: {known:?}");
        }
        Ok(format!("all {CALLBACKS} call-backs of `vim` to {ATTACKER}, with their times"))
    }

    fn flashes(&self, record: &Record) -> Result<String> {
        ensure!(
            record.flashes.len() == FLASHES,
            "{FLASHES} short steps, and these were taken: {:?}",
            record.flashes
        );
        let lived = |pid: &u32| -> Result<i128> {
            let flash = Process::of_pid(&self.events, *pid)?;
            let (exec, exit) = (flash.one("exec")?, flash.one("exit")?);
            ensure!(exit["process.exit_code"] == FLASH_CODE, "{exit}");
            Ok(nanoseconds(exit)? - nanoseconds(exec)?)
        };
        let lives: Vec<i128> = record.flashes.iter().map(lived).collect::<Result<_>>()?;
        let shortest = lives.iter().min().context("no short step was taken")?;
        ensure!(
            *shortest < MILLISECOND_NS,
            "the short steps lived for {lives:?} ns: they do not test what they should"
        );
        Ok(format!(
            "every one of {} steps that unlinked themselves; the shortest lived for {} µs",
            lives.len(),
            shortest / 1000
        ))
    }

    fn hidden(&self) -> Result<String> {
        let names = |event: &&Value| {
            let args = event["process.args"].as_array().into_iter().flatten();
            args.filter_map(Value::as_str).any(|arg| arg.contains(".cache/.sys"))
        };
        let count = self.events.iter().filter(names).count();
        ensure!(count > 0, "no process names the hidden directory");
        Ok(format!("{count} processes whose command line names ~/.cache/.sys"))
    }

    fn losses(&self) -> Result<String> {
        nothing_was_lost(&self.events)?;
        no_loss(&self.manifest["facts"]["counts"]).context("capture.json")?;
        // The recorder of that capture began after the drill: the one that saw it gave its account as it stopped.
        let mut accounts = self.events.iter().filter(|event| event["afterimage.agent"] == "stopped");
        let account = accounts.next().context("the first recorder left no account of itself")?;
        ensure!(accounts.next().is_none(), "one recorder has stopped, and there is more than one account");
        no_loss(&account["afterimage.counts"]).context("the first recorder's own account")?;
        Ok("zero events lost, and the manifest says so".to_owned())
    }
}

/// Fails unless a recorder's counts say that it saw something, and lost nothing.
fn no_loss(counts: &Value) -> Result<()> {
    let said = |pointer: &str| counts.pointer(pointer).with_context(|| format!("no {pointer} in {counts}"));
    // Without the kernel's counters, its zero would mean nothing.
    ensure!(said("/kernel/known")? == true, "{counts}");
    ensure!(said("/kernel/attempted")?.as_u64() > Some(0), "it saw nothing: {counts}");
    for pointer in ["/kernel/lost", "/recorder/history_lost"] {
        ensure!(said(pointer)? == 0, "{pointer} is not 0 in {counts}");
    }
    Ok(())
}

fn nanoseconds(event: &Value) -> Result<i128> {
    let text = event["@timestamp"].as_str().context("no @timestamp")?;
    Ok(text.parse::<jiff::Timestamp>()?.as_nanosecond())
}
