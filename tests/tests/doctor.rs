//! `afterimage doctor` says in words what a host lets us see, and what is missing.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::ensure;
use e2e::{agent, story, world};

#[test]
fn root_learns_what_is_missing_and_what_it_costs() {
    world::inside("root_learns_what_is_missing_and_what_it_costs", || {
        let said = String::from_utf8(agent::ask(&story::program(), &["doctor"])?.stdout)?;
        println!("{said}");
        for word in ["fentry", "LSM", "kprobe", "kcore"] {
            ensure!(said.to_lowercase().contains(&word.to_lowercase()), "nothing about {word} in:\n{said}");
        }
        Ok(())
    });
}

#[test]
fn whoever_is_not_root_learns_what_it_would_need() {
    world::inside("whoever_is_not_root_learns_what_it_would_need", || {
        let output = Command::new(story::program())
            .arg("doctor")
            .uid(world::SERVICE_USER)
            .gid(world::SERVICE_USER)
            .output()?;
        let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        println!("{said}");
        ensure!(said.contains("root") || said.contains("CAP_"), "not a word on what it would need:\n{said}");
        Ok(())
    });
}
