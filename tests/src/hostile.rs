//! A process that is hard to read (tests/src/bin/hostile.rs), and what became of each attempt to read it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::judges::Bag;
use crate::world::BIN;

/// One of them.
pub struct Hostile {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub report: Value,
}

impl Hostile {
    /// Starts it, and waits until it is as it should be.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(format!("{BIN}/hostile"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a hostile process")?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut hostile = Self { child, lines, report: Value::Null };
        hostile.report = hostile.line().with_context(|| format!("{arguments:?}"))?;
        Ok(hostile)
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says something to it.
    pub fn tell(&mut self, line: &str) -> Result<Value> {
        self.child.stdin.as_mut().context("no stdin")?.write_all(format!("{line}\n").as_bytes())?;
        self.line()
    }

    /// Closes its stdin, and hears its last words.
    pub fn last_words(&mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        self.line()
    }

    /// Its next line.
    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether the text is the identity of a process with this pid: `<boot>-<pid>-<start>`.
fn is(id: &Value, pid: u32) -> bool {
    id.as_str().and_then(|text| text.rsplit('-').nth(1)).is_some_and(|text| text == pid.to_string())
}

/// A bundle's own account.
pub struct Account {
    /// `capture.json`.
    pub manifest: Value,
    folder: PathBuf,
    /// Where it is unpacked; removed with this.
    unpacked: PathBuf,
}

impl Drop for Account {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.unpacked));
    }
}

impl Account {
    /// Of the bundle, which must be good, unpacked into `folder`.
    pub fn of(bundle: &Path, folder: &Path) -> Result<Self> {
        let bag = Bag::extract(bundle, folder)?;
        let manifest = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        Ok(Self { manifest, folder: bag.file("data"), unpacked: folder.to_owned() })
    }

    /// Fails unless the collector reached its end.
    pub fn is_complete(&self) -> Result<()> {
        ensure!(self.manifest["complete"] == true, "it is incomplete: {}", self.manifest["incomplete"]);
        Ok(())
    }

    /// The attempts whose subject is `<pid>-<start> <what>`, whatever the start; without those of the first look, which
    /// come before all else and are made again.
    pub fn attempts(&self, pid: u32, what: &str) -> Vec<&Value> {
        let (begin, end) = (format!("{pid}-"), format!(" {what}"));
        let list = self.manifest["attempts"].as_array().into_iter().flatten();
        list.filter(|attempt| {
            attempt["collection"] != "first"
                && attempt["subject"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(&begin) && text.ends_with(&end))
        })
        .collect()
    }

    /// Outcome and detail of the only such attempt.
    pub fn outcome(&self, pid: u32, what: &str) -> Result<(&str, &str)> {
        let all = self.attempts(pid, what);
        ensure!(all.len() == 1, "{} attempts at {what} of {pid}: {all:?}", all.len());
        let text = |name: &str| all[0][name].as_str().unwrap_or_default();
        Ok((text("outcome"), text("detail")))
    }

    /// What was held still of this process.
    pub fn frozen(&self, pid: u32) -> Vec<&Value> {
        let list = self.manifest["frozen"].as_array().into_iter().flatten();
        list.filter(|one| one["processes"].as_array().into_iter().flatten().any(|id| is(id, pid))).collect()
    }

    /// A file of the process.
    pub fn file(&self, pid: u32, name: &str) -> Result<Vec<u8>> {
        let folder = self.folder.join("process");
        let begin = format!("{pid}-");
        let mut found = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        let found = found
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin)));
        let path = found.with_context(|| format!("no folder of {pid}"))?.join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }
}
