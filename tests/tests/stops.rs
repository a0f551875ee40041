//! Nothing that lies on a disk is ever stopped so that its parent sees it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::agent::Agent;
use e2e::terminal::Terminal;
use e2e::world::BIN;
use e2e::{story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const TRUE: &str = "/usr/bin/true";
const TIMES: usize = 200;

#[test]
fn no_parent_sees_a_stop_of_a_program_on_disk() {
    world::inside("no_parent_sees_a_stop_of_a_program_on_disk", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let known = vec![PathBuf::from(TRUE); TIMES];
        for (what, programs) in [("known", known), ("first-time", copies()?)] {
            let output = Command::new(Path::new(BIN).join("stops")).args(&programs).output()?;
            ensure!(output.status.success(), "stops: {}", String::from_utf8_lossy(&output.stderr));
            let seen: Value = serde_json::from_slice(&output.stdout)?;
            println!("{what}: {seen}");
            ensure!(
                seen["waited"] == 0 && seen["signalled"] == 0,
                "a parent saw stops of {what} files: {seen}"
            );
            let control = |name: &str| seen[name].as_u64().is_some_and(|count| count > 0);
            ensure!(control("control_waited") && control("control_signalled"), "it would see none: {seen}");
        }
        agent.stop()
    });
}

#[test]
fn an_interactive_shell_says_nothing_of_stopped_jobs() {
    world::inside("an_interactive_shell_says_nothing_of_stopped_jobs", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let mut lines: Vec<String> =
            copies()?.iter().take(50).map(|path| path.display().to_string()).collect();
        lines.extend([TRUE.to_owned(), format!("{TRUE} | {TRUE}"), "echo all-$((20+3))-done".to_owned()]);
        let mut shell = Terminal::start("/bin/bash", &["--norc", "--noprofile", "-i"])?;
        let said = shell.converse(&lines, "all-23-done")?;
        ensure!(!said.contains("Stopped"), "the shell says:\n{said}");
        // The same shell would say so.
        let said = shell.converse(&["sh -c 'kill -STOP $$'".to_owned()], "Stopped")?;
        println!(
            "a job that really was stopped: {}",
            said.lines().find(|line| line.contains("Stopped")).unwrap_or_default()
        );
        agent.stop()
    });
}

/// Fresh copies, each with its own content.
fn copies() -> Result<Vec<PathBuf>> {
    let folder = Path::new("/var/tmp/first");
    fs::create_dir_all(folder)?;
    let copy = |number: usize| {
        let path = folder.join(format!("true-{number}"));
        fs::copy(TRUE, &path)?;
        write!(OpenOptions::new().append(true).open(&path)?, "{number}")?;
        Ok(path)
    };
    (0..TIMES).map(copy).collect()
}
