//! Pids are used again between two reads of a process: no record is of two processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::judges::Bag;
use e2e::world::BIN;
use e2e::{story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
/// Reuses while captures were made.
const REUSES: u64 = 10_000;
const SLOTS: usize = 700;
const ROUNDS: usize = 20;

#[test]
fn a_record_is_of_one_process_however_often_its_pid_is_used_again() {
    world::inside("a_record_is_of_one_process_however_often_its_pid_is_used_again", || {
        let mut found = Found::default();
        for round in 0..ROUNDS {
            // A history of its own each time: else most of the scope would be of the dead.
            drop(fs::remove_dir_all("/var/lib/afterimage"));
            let agent = Agent::start(&story::program(), Path::new(LOG))?;
            let mut reuse = Reuse::start()?;
            let before = reuse.count()?;
            let bundle = agent.capture(&["--pid", &reuse.child.id().to_string()])?;
            found.reuses += reuse.count()? - before;
            let load = reuse.child.id();
            drop(reuse);
            agent.stop()?;
            let folder = PathBuf::from(format!("/var/tmp/bag{round}"));
            found.look(&Bag::extract(&bundle, &folder)?, load)?;
            fs::remove_dir_all(folder)?;
            if found.reuses >= REUSES {
                break;
            }
        }
        println!("{found:?}");
        ensure!(found.reuses >= REUSES, "only {} reuses", found.reuses);
        ensure!(
            found.interrupted >= 30,
            "only {} records were cut by a reuse: this shows nothing",
            found.interrupted
        );
        ensure!(found.numbered >= 500, "only {} files have a number: this shows nothing", found.numbered);
        ensure!(
            found.mixed.is_empty(),
            "{} records are of two processes: {:?}",
            found.mixed.len(),
            found.mixed
        );
        Ok(())
    });
}

/// The load (tests/src/bin/reuse.rs).
struct Reuse {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Reuse {
    fn start() -> Result<Self> {
        let mut child = Command::new(format!("{BIN}/reuse"))
            .args(["serial=00000000", &SLOTS.to_string()])
            .env_clear()
            .env("SERIAL", "00000000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut reuse = Self { child, lines };
        let line = reuse.line()?;
        ensure!(line == "ready", "it said {line:?}");
        Ok(reuse)
    }

    /// How many processes were replaced so far.
    fn count(&mut self) -> Result<u64> {
        self.child.stdin.as_mut().context("no stdin")?.write_all(b"\n")?;
        let line = self.line()?;
        line.parse().with_context(|| format!("it said {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Reuse {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[derive(Debug, Default)]
struct Found {
    reuses: u64,
    records: u64,
    files: u64,
    /// Files that name a serial number.
    numbered: u64,
    /// Records that begin with files and end with what was gone.
    interrupted: u64,
    identity_changed: u64,
    mixed: Vec<String>,
}

impl Found {
    fn look(&mut self, bag: &Bag, load: u32) -> Result<()> {
        let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        let attempts = manifest["attempts"].as_array().context("no attempts")?;
        for folder in fs::read_dir(bag.file("data/process"))?.flatten().map(|entry| entry.path()) {
            if !folder.is_dir() {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Of the load's children: what is older may well know several of them.
            let pid: u32 = name.split('-').next().unwrap_or_default().parse()?;
            if pid <= load {
                continue;
            }
            self.records += 1;
            let mut serials = self.serials(&folder)?;
            let deleted = bag.file(&format!("data/hidden/deleted/{name}"));
            if deleted.is_dir() {
                serials.extend(self.serials(&deleted)?);
            }
            if serials.len() > 1 {
                self.mixed.push(format!("{name}: {serials:?}"));
            }
            let own = |outcome: &str| {
                attempts.iter().any(|attempt| {
                    attempt["outcome"] == outcome
                        && attempt["subject"]
                            .as_str()
                            .is_some_and(|text| text.starts_with(&format!("{name} ")))
                })
            };
            self.interrupted += u64::from(own("ok") && own("gone"));
        }
        self.identity_changed +=
            u64::try_from(attempts.iter().filter(|one| one["outcome"] == "identity_changed").count())?;
        Ok(())
    }

    /// All serial numbers that the files of a folder name; a process begins with eight zeros, before it has its own.
    fn serials(&mut self, folder: &Path) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
            let found = serials(&own(&path)?);
            self.files += 1;
            self.numbered += u64::from(!found.is_empty());
            all.extend(found);
        }
        Ok(all)
    }
}

/// What a file says of its own process: who has the other ends of its descriptors are others, and named as such.
fn own(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if path.file_name().is_none_or(|name| name != "fd.json") {
        return Ok(bytes);
    }
    let mut descriptors: Value = serde_json::from_slice(&bytes)?;
    for descriptor in descriptors.as_array_mut().context("fd.json is no list")? {
        descriptor.as_object_mut().context("a descriptor is no object")?.remove("peers");
    }
    Ok(serde_json::to_vec(&descriptors)?)
}

fn serials(bytes: &[u8]) -> BTreeSet<String> {
    const MARKER: &[u8] = b"serial";
    let windows = bytes.windows(MARKER.len() + 1 + 8);
    let numbers = windows.filter(|window| {
        window[..6].eq_ignore_ascii_case(MARKER)
            && matches!(window[6], b'=' | b':' | b'-')
            && window[7..].iter().all(u8::is_ascii_digit)
    });
    let numbers = numbers.map(|window| String::from_utf8_lossy(&window[7..]).into_owned());
    numbers.filter(|number| number != "00000000").collect()
}
