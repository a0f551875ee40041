//! What hides is found, each by its own name and with both views; what does not is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::hiders::{
    AHEAD, APPEND_ONLY, BACK_DATED, BY_ENVIRONMENT, BY_LIST, COVERED, Hiders, IMMUTABLE, KEPT_OUT, PACKAGED,
};
use e2e::judges::Bag;
use e2e::{churn, net, story, world};
use serde_json::Value;

#[test]
fn whatever_user_space_can_hide_is_found() {
    world::inside("whatever_user_space_can_hide_is_found", || {
        net::loopback_up()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let before = agent.capture(&["--host"])?;
        ensure!(churn::found(&before)?.is_empty(), "before anything hides: {:#?}", churn::found(&before)?);
        let hiders = Hiders::start()?;
        let bundle = agent.capture(&["--host"])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/hidden"))?;
        processes(&hiders, &bag)?;
        disguises(&hiders, &bag)?;
        exactly(
            &bag,
            "preload",
            &[(BY_ENVIRONMENT, "by the environment"), (BY_LIST, "by /etc/ld.so.preload")],
        )?;
        let elsewhere = format!("/proc/{}", hiders.pid("under a mount elsewhere")?);
        exactly(&bag, "mounts", &[(COVERED, "not empty"), (&elsewhere, "in another mount namespace")])?;
        exactly(&bag, "times", &[(BACK_DATED, "set to long before"), (AHEAD, "set to a later one")])?;
        exactly(&bag, "flags", &[(IMMUTABLE, "immutable"), (APPEND_ONLY, "appended to only")])?;
        exactly(&bag, "sockets", &[])?;
        exactly(&bag, "entries", &[])?;
        everything(&hiders, &bag)
    });
}

#[test]
fn processes_and_connections_that_come_and_go_are_no_findings() {
    world::inside("processes_and_connections_that_come_and_go_are_no_findings", || {
        net::loopback_up()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let churn = churn::watch(&agent, Duration::from_secs(15))?;
        println!("{} captures at {:.0} processes a second", churn.captures, churn.rate);
        ensure!(churn.alarms.is_empty(), "{:#?}", churn.alarms);
        Ok(())
    });
}

fn processes(hiders: &Hiders, bag: &Bag) -> Result<()> {
    let report = report(bag, "processes")?;
    let covered = hiders.pid("under a mount")?;
    let found = report["findings"].as_array().context("no findings")?;
    ensure!(!found.is_empty() && found.iter().all(|one| one["pid"] == covered), "{report:#}");
    let mounted =
        found.iter().find(|one| one["reason"].as_str().is_some_and(|why| why.contains("mounted over")));
    let views = mounted.context("the mount is not named")?["views"].to_string();
    ensure!(views.contains("/usr/bin/sleep"), "what lies under the mount is not told: {views}");
    Ok(())
}

fn disguises(hiders: &Hiders, bag: &Bag) -> Result<()> {
    let mut expected = Vec::new();
    for (word, reason) in [
        ("kernel name", "calls itself a kernel thread"),
        ("brackets", "calls itself a kernel thread"),
        ("kernel comm", "name is that of a kernel thread"),
        ("trailing space", "executable has a name made to mislead"),
        ("zero width", "executable has a name made to mislead"),
        ("zero width", "own name is made to mislead"),
        ("look-alike", "executable has a name made to mislead"),
        ("look-alike", "own name is made to mislead"),
        ("deleted", "was deleted and still runs"),
        ("memfd", "never on a disk"),
    ] {
        expected.push((format!("/proc/{}", hiders.pid(word)?), reason));
    }
    let expected: Vec<(&str, &str)> =
        expected.iter().map(|(object, reason)| (object.as_str(), *reason)).collect();
    exactly(bag, "disguises", &expected)
}

/// Fails unless the findings of a kind are these: what each is about, and some words of the reason.
fn exactly(bag: &Bag, kind: &str, expected: &[(&str, &str)]) -> Result<()> {
    let report = report(bag, kind)?;
    let found = report["findings"].as_array().context("no findings")?;
    for (object, reason) in expected {
        let is = |one: &&Value| {
            one["object"] == *object && one["reason"].as_str().is_some_and(|why| why.contains(reason))
        };
        let one = found.iter().find(is);
        let one = one.with_context(|| format!("{kind}: no {object:?} ({reason}) in {report:#}"))?;
        let views = one["views"].as_array().context("no views")?;
        ensure!(views.len() >= 2, "{kind}: one view is no evidence: {one:#}");
    }
    ensure!(found.len() == expected.len(), "{kind}: more than {expected:?}: {report:#}");
    Ok(())
}

/// The list of all findings names them, too, with files copied; and nothing that is as it should be.
fn everything(hiders: &Hiders, bag: &Bag) -> Result<()> {
    let rows: Value = serde_json::from_slice(&fs::read(bag.file("data/hidden/findings.json"))?)?;
    let rows = rows.as_array().context("no list")?;
    let paths: BTreeSet<&str> = rows.iter().filter_map(|row| row["path"].as_str()).collect();
    let pid = |word| Ok::<_, anyhow::Error>(format!("/proc/{}", hiders.pid(word)?));
    let (covered, kernel) = (pid("under a mount")?, pid("kernel name")?);
    for path in
        [BY_ENVIRONMENT, BY_LIST, COVERED, BACK_DATED, AHEAD, IMMUTABLE, APPEND_ONLY, &covered, &kernel]
    {
        ensure!(paths.contains(path), "{path} is not among {paths:?}");
    }
    for path in [PACKAGED, KEPT_OUT, &pid("not a kernel name")?, &pid("preloaded")?] {
        ensure!(!paths.contains(path), "{path} is among {paths:?}");
    }
    for path in [BY_ENVIRONMENT, BY_LIST, BACK_DATED, AHEAD, IMMUTABLE, APPEND_ONLY] {
        let copy = bag.file(&format!("data/files{path}"));
        ensure!(fs::read(&copy)? == fs::read(path)?, "{} is not the file", copy.display());
    }
    Ok(())
}

fn report(bag: &Bag, kind: &str) -> Result<Value> {
    let text = fs::read(bag.file(&format!("data/hidden/{kind}.json")))
        .with_context(|| format!("read {kind}.json"))?;
    Ok(serde_json::from_slice(&text)?)
}
