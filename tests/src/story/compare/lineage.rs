//! Who begot whom, when; and whom the alert was resolved to.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Evidence, nanoseconds};
use crate::drill::Record;
use crate::events::Process;

/// How far the kernel's clock and the story's may lie apart: the agent converts from time since boot.
const CLOCKS_APART_NS: u128 = 100_000_000;
/// Generations below the service that are followed at most.
const DEEPEST: usize = 64;

impl Evidence<'_> {
    /// service → sh → x and vim, every link's beginning and end.
    pub(super) fn lineage(&self, record: &Record) -> Result<String> {
        let Record { began, answered, cleaned, ended, .. } = *record;
        let service = self.find(&record.service)?;
        let shell = Process::of_pid(&self.events, record.shell)?;
        child_of(&shell, &service)?;
        ensure!(shell.one("exec")?["process.name"] == "sh" && shell.one("exit")?["process.exit_code"] == 0);
        for action in ["fork", "exec", "exit"] {
            between(&shell, action, began, answered)?;
        }
        for seen in [&record.x, &record.vim] {
            let process = self.find(seen)?;
            child_of(&process, &shell)?;
            ensure!(process.one("exec")?["process.executable"] == seen.exe, "{}", process.one("exec")?);
            ensure!(process.one("exec")?["user.id"] == crate::world::SERVICE_USER);
            ensure!(process.one("exit")?["afterimage.signal"] == 9);
            between(&process, "fork", began, answered)?;
            between(&process, "exit", cleaned, ended)?;
        }
        ensure!(service.one("exit")?["afterimage.signal"] == 9);
        between(&service, "exit", cleaned, ended)?;
        Ok("next-server → sh → x, vim: each with its start, its parent, its end".to_owned())
    }

    /// The alert, which has no pid, means `vim`: nobody outside the intrusion is a target.
    pub(super) fn targets(&self, record: &Record) -> Result<String> {
        let vim = self.find(&record.vim)?;
        let service = self.find(&record.service)?;
        let targets = self.manifest["targets"].as_array().context("capture.json has no targets")?;
        let targets: BTreeSet<&str> = targets.iter().filter_map(Value::as_str).collect();
        ensure!(targets.contains(vim.id()), "vim is {}, and the targets are {targets:?}", vim.id());

        let text = fs::read_to_string(self.bag.file("data/process/tree.json"))?;
        let tree: Value = serde_json::from_str(&text)?;
        let rows = tree.as_array().context("tree.json is no list")?;
        let id = |row: &'_ Value| row["id"].as_str().map(str::to_owned);
        let marked: BTreeSet<String> =
            rows.iter().filter(|row| row["target"] == true).filter_map(id).collect();
        ensure!(
            marked.iter().map(String::as_str).eq(targets.iter().copied()),
            "tree.json marks {marked:?}, and the targets are {targets:?}"
        );
        let parents: HashMap<&str, &str> =
            rows.iter().filter_map(|row| Some((row["id"].as_str()?, row["parent"].as_str()?))).collect();
        for target in &targets {
            let mut line = std::iter::successors(Some(*target), |id| parents.get(id).copied()).take(DEEPEST);
            ensure!(
                line.any(|id| id == service.id()),
                "{target} is a target and does not descend from the service"
            );
        }
        Ok(format!("the alert without a pid means `vim` ({} target)", targets.len()))
    }
}

fn child_of(child: &Process<'_>, parent: &Process<'_>) -> Result<()> {
    let reported = &child.one("fork")?["process.parent.entity_id"];
    ensure!(reported == parent.id(), "{}: forked by {reported}, and it was {}", child.id(), parent.id());
    Ok(())
}

fn between(process: &Process<'_>, action: &str, earliest: u128, latest: u128) -> Result<()> {
    let event = process.one(action)?;
    let time = u128::try_from(nanoseconds(event)?)?;
    ensure!(
        (earliest - CLOCKS_APART_NS..=latest + CLOCKS_APART_NS).contains(&time),
        "it happened between {earliest} and {latest}, and {time} is said: {event}"
    );
    Ok(())
}
