//! Definitions of files: the published ones load as they are, and a capture takes what they name.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::judges::Bag;
use e2e::{story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
/// What Debian's forensic-artifacts installs.
const PUBLISHED: &str = "/usr/share/artifacts";
const OWN: &str = "/etc/afterimage/artifacts";

#[test]
fn the_published_definitions_load_as_they_are_and_one_that_is_wrong_does_not_spoil_them() {
    world::inside(
        "the_published_definitions_load_as_they_are_and_one_that_is_wrong_does_not_spoil_them",
        || {
            let program = story::program();
            let check = |path: &str| -> Result<(Option<i32>, Value)> {
                let output = agent::ask(&program, &["artifacts", "check", "--json", path])?;
                Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
            };
            let (status, found) = check(PUBLISHED)?;
            ensure!(status == Some(0) && found["refused"] == serde_json::json!([]), "refused: {found:#}");
            let (documents, linux) = (found["documents"].as_u64(), found["for_linux"].as_u64());
            ensure!(documents >= Some(600) && linux >= Some(200), "few: {found:#}");
            println!("{documents:?} definitions, {linux:?} for Linux, {} patterns", found["patterns"]);
            fs::create_dir_all(OWN)?;
            let mut text = fs::read_to_string(Path::new(PUBLISHED).join("linux.yaml"))?;
            let line = text.lines().count() + 2;
            text.push_str("---\nname: Broken\ndoc: x\ncolour: red\n");
            fs::write(Path::new(OWN).join("linux.yaml"), text)?;
            let (status, found) = check(OWN)?;
            let refused = &found["refused"][0];
            ensure!(status == Some(2) && found["for_linux"].as_u64() > Some(90), "{found:#}");
            ensure!(refused["line"].as_u64().is_some_and(|at| at >= line as u64), "{refused}");
            ensure!(refused["reason"].as_str().is_some_and(|reason| reason.contains("colour")), "{refused}");
            Ok(())
        },
    );
}

#[test]
fn a_triage_capture_takes_what_they_name() {
    world::inside("a_triage_capture_takes_what_they_name", || {
        let planted = [
            ("/etc/cron.d/update", "* * * * * root /tmp/.x\n"),
            ("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA intruder\n"),
            ("/etc/systemd/system/helper.service", "[Service]\nExecStart=/var/tmp/h\n"),
            ("/srv/app/settings.conf", "mine\n"),
        ];
        for (path, text) in planted {
            fs::create_dir_all(Path::new(path).parent().context("no parent")?)?;
            fs::write(path, text)?;
        }
        fs::create_dir_all(OWN)?;
        let mine =
            "name: AppSettings\ndoc: x\nsources: [{type: FILE, attributes: {paths: ['/srv/app/*.conf']}}]\n";
        fs::write(Path::new(OWN).join("app.yaml"), mine)?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let sealed = agent.capture(&["--pid", "1", "--artifacts", "triage,AppSettings"])?;
        let bag = Bag::extract(&sealed, Path::new("/var/tmp/bag"))?;
        let read = |name: &str| fs::read(bag.file(name)).with_context(|| format!("no {name}"));
        for (path, text) in planted {
            let name = format!("data/files{path}");
            ensure!(read(&name)? == text.as_bytes(), "{name} is not what was planted");
        }
        let listing = String::from_utf8(read("data/files.jsonl")?)?;
        ensure!(
            listing.lines().any(|line| line.contains("/etc/cron.d/update") && line.contains("CronTables"))
        );
        agent.stop()
    });
}
