//! Reading the agent's events as anyone would: JSON with ECS names.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::proc::Seen;

/// The events of one process.
pub struct Process<'a> {
    id: String,
    events: Vec<&'a Value>,
}

impl<'a> Process<'a> {
    /// Those of the process with this pid and start time.
    pub fn find(events: &'a [Value], seen: &Seen) -> Result<Self> {
        let ending = format!("-{}-{}", seen.pid, seen.start);
        let mut own =
            events.iter().filter(|event| id(event).is_some_and(|id| id.ends_with(&ending))).peekable();
        let id = own.peek().and_then(|event| id(event));
        let id = id.with_context(|| format!("no event of a process {ending}"))?.to_owned();
        Ok(Self { events: own.filter(|event| self::id(event) == Some(&id)).collect(), id })
    }

    /// Those of the process with this pid, where its start time is not known: it must be the only one of that pid.
    pub fn of_pid(events: &'a [Value], pid: u32) -> Result<Self> {
        let own: Vec<&Value> = events.iter().filter(|event| event["process.pid"] == pid).collect();
        let first =
            own.first().and_then(|event| id(event)).with_context(|| format!("no event of pid {pid}"))?;
        ensure!(own.iter().all(|event| id(event) == Some(first)), "pid {pid} stands for several processes");
        Ok(Self { id: first.to_owned(), events: own })
    }

    /// `<boot>-<pid>-<start>`
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its events of one kind.
    pub fn all(&self, action: &str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().copied().filter(move |event| event["event.action"] == action)
    }

    /// Its only event of that kind.
    pub fn one(&self, action: &str) -> Result<&'a Value> {
        let all: Vec<_> = self.all(action).collect();
        ensure!(all.len() == 1, "{}: {} events `{action}`, and there must be 1: {all:?}", self.id, all.len());
        Ok(all[0])
    }

    /// Fails unless the event's parent is `parent`.
    pub fn has_parent(&self, event: &Value, parent: &Seen) -> Result<()> {
        let reported = event["process.parent.entity_id"].as_str().unwrap_or("nobody");
        let ending = format!("-{}-{}", parent.pid, parent.start);
        ensure!(reported.ends_with(&ending), "{}: parent {reported}, and it is {ending}", self.id);
        Ok(())
    }
}

/// The events of a folder of segments, read as anyone can: `zstd -dc FILE`, a line each.
pub fn read(folder: &Path) -> Result<Vec<Value>> {
    let mut segments: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    // Beside them lie their indexes, and who holds them.
    segments.retain(|path| path.to_string_lossy().ends_with(".jsonl.zst"));
    segments.sort();
    let mut events = Vec::new();
    for segment in segments {
        let output =
            Command::new("zstd").args(["-dcq"]).arg(&segment).output().context("cannot start zstd")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "zstd -dc {}: {said}", segment.display());
        for line in output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            events.push(serde_json::from_slice(line).with_context(|| segment.display().to_string())?);
        }
    }
    Ok(events)
}

/// Fails when events were lost.
///
/// An executable that was gone before it could be opened is said as a loss too, of the stash, and is none of events.
pub fn nothing_was_lost(events: &[Value]) -> Result<()> {
    let is_loss =
        |event: &&Value| event["event.action"] == "loss" && event["afterimage.loss.place"] != "stash";
    let lost: Vec<_> = events.iter().filter(is_loss).collect();
    ensure!(lost.is_empty(), "events were lost: {lost:?}");
    Ok(())
}

/// Text as the agent writes it: reversible, so that no byte can steer a terminal.
pub fn escape(text: &str) -> String {
    let one = |character: char| match character {
        '\\' => "\\\\".to_owned(),
        character if character.is_control() => {
            let mut bytes = [0; 4];
            character.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\x{byte:02X}")).collect()
        }
        character => character.to_string(),
    };
    text.chars().map(one).collect()
}

fn id(event: &Value) -> Option<&str> {
    event["process.entity_id"].as_str()
}
