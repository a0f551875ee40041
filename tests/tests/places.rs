//! What is done to files in places of persistence and to logs is in the history, with who did it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::events::nothing_was_lost;
use e2e::{story, wait, world};
use serde_json::Value;

/// How long a deed may take until it is in the history.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shell says who it is, as the kernel sees it, and does something.
const WHO: &str = "read -r line < /proc/$$/stat; echo \"$line\"; ";

#[test]
fn deeds_in_places_are_told_with_who_did_them() {
    world::inside("deeds_in_places_are_told_with_who_did_them", || {
        for folder in ["/etc/cron.d", "/var/log/apt", "/root"] {
            fs::create_dir_all(folder)?;
        }
        for log in ["/var/log/auth.log", "/var/log/wtmp", "/var/log/apt/history.log", "/var/log/kern.log"] {
            fs::write(log, [b'x'; 1000])?;
        }
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let places = agent.status()?["places"].clone();
        ensure!(places["in_force"] == true, "{places}");
        persistence(&agent)?;
        logs(&agent)?;
        flood(&agent)?;
        nothing_was_lost(&agent.history()?)?;
        agent.stop()
    });
}

fn persistence(agent: &Agent) -> Result<()> {
    let who = shell("echo '* * * * * root x' > /etc/cron.d/x")?;
    told(agent, &who, "/etc/cron.d/x", "persistence", &["created", "written"])?;
    let who = shell("echo x >> /etc/passwd; echo y > /etc/other")?;
    told(agent, &who, "/etc/passwd", "persistence", &["written"])?;
    let who = shell("echo x > /etc/new; exec mv /etc/new /etc/ld.so.preload")?;
    told(agent, &who, "/etc/ld.so.preload", "persistence", &["renamed_in"])?;
    let who = shell("exec rm /etc/cron.d/x")?;
    told(agent, &who, "/etc/cron.d/x", "persistence", &["deleted"])?;
    let events = agent.history()?;
    let other = events.iter().find(|event| is_touch(event) && event["file.path"] == "/etc/other");
    ensure!(other.is_none(), "a file that does not matter: {other:?}");

    // A directory that appears later: what was put there at once is found, what comes then is told with who did it.
    let _ = shell("mkdir -m 700 /root/.ssh; echo key > /root/.ssh/known_hosts")?;
    wait::until("the new directory's file", PATIENCE, || {
        agent.history_flushed()?;
        let events = agent.history()?;
        let at_once =
            events.iter().find(|event| is_touch(event) && event["file.path"] == "/root/.ssh/known_hosts");
        // Whether it was there before its directory was watched is a race; either is true.
        let deed = at_once.map(|event| event["afterimage.deed"].clone());
        ensure!(
            deed.as_ref().is_none_or(|deed| ["found", "created", "written"].iter().any(|one| deed == one))
        );
        Ok(deed.map(drop))
    })?;
    let who = shell("echo key >> /root/.ssh/authorized_keys")?;
    told(agent, &who, "/root/.ssh/authorized_keys", "persistence", &["created", "written"])?;
    let mode = fs::metadata("/root/.ssh/authorized_keys")?.permissions().mode();
    ensure!(mode & 0o170_000 == 0o100_000, "not a file");
    let who = shell("exec chmod 4755 /root/.ssh/authorized_keys")?;
    told(agent, &who, "/root/.ssh/authorized_keys", "persistence", &["attributes"])?;
    Ok(())
}

fn logs(agent: &Agent) -> Result<()> {
    // Growing is what logs do.
    shell("echo more >> /var/log/auth.log")?;
    agent.history_flushed()?;
    let who = shell(": > /var/log/auth.log")?;
    let event = told(agent, &who, "/var/log/auth.log", "log", &["truncated"])?;
    ensure!(event["afterimage.size_before"] == 1005 && event["file.size"] == 0, "{event}");
    let who = shell("exec truncate -s 10 /var/log/apt/history.log")?;
    let event = told(agent, &who, "/var/log/apt/history.log", "log", &["truncated"])?;
    ensure!(event["afterimage.size_before"] == 1000 && event["file.size"] == 10, "{event}");
    let who = shell("exec rm /var/log/wtmp")?;
    told(agent, &who, "/var/log/wtmp", "log", &["deleted"])?;
    let who = shell("echo harmless > /var/tmp/l; exec mv /var/tmp/l /var/log/kern.log")?;
    // /var/tmp and /var/log are of one file system here; a copy would be a truncation.
    told(agent, &who, "/var/log/kern.log", "log", &["renamed_in"])?;
    let grown = agent.history()?.into_iter().filter(|event| {
        is_touch(event)
            && event["file.path"] == "/var/log/auth.log"
            && event["afterimage.deed"] != "truncated"
    });
    ensure!(grown.count() == 0, "a log that grew is no news");
    Ok(())
}

/// Ten thousand writes to one file are few events: the kernel joins those that wait, and the agent tells one a second.
fn flood(agent: &Agent) -> Result<()> {
    let who = shell("i=0; while [ $i -lt 10000 ]; do echo $i >> /etc/cron.d/flood; i=$((i+1)); done")?;
    told(agent, &who, "/etc/cron.d/flood", "persistence", &["created", "written"])?;
    let events = agent.history()?;
    let of_it = events.iter().filter(|event| is_touch(event) && event["file.path"] == "/etc/cron.d/flood");
    let count = of_it.count();
    ensure!(count < 100, "{count} events for one file");
    Ok(())
}

/// The entity (without its boot) of a shell that did this.
fn shell(script: &str) -> Result<String> {
    let output = Command::new("/usr/bin/bash").args(["-c", &format!("{WHO}{script}")]).output()?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let fields: Vec<&str> = text.split(' ').collect();
    let start = fields.get(21).with_context(|| format!("not a stat: {text}"))?;
    Ok(format!("{}-{start}", fields[0]))
}

fn is_touch(event: &Value) -> bool {
    event["event.action"] == "touch"
}

/// Each of these deeds, by this process; the last one.
fn told(agent: &Agent, who: &str, path: &str, place: &str, deeds: &[&str]) -> Result<Value> {
    let mut seen = Vec::new();
    let found = wait::until(&format!("{deeds:?} of {path} by {who}"), PATIENCE, || {
        agent.history_flushed()?;
        seen = agent.history()?.into_iter().filter(is_touch).collect();
        let by = |deed: &&str| {
            seen.iter().find(|event| {
                event["file.path"] == path
                    && event["afterimage.place"] == place
                    && event["afterimage.deed"] == **deed
                    && event["process.entity_id"].as_str().is_some_and(|id| id.ends_with(&format!("-{who}")))
                    && event["afterimage.writers"].is_null()
            })
        };
        let all: Option<Vec<&Value>> = deeds.iter().map(by).collect();
        Ok(all.and_then(|all| all.last().map(|event| (*event).clone())))
    });
    found.with_context(|| format!("told were: {seen:#?}"))
}
