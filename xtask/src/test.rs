//! Everything that must pass.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::binaries::{self, cargo_static};
use crate::command::run as run_command;
use crate::{check, ebpf, setup, vm};

/// What a step could not show, in words; nothing when it showed all.
type Step = fn() -> Result<Option<String>>;

/// Runs the steps in the order in which a mistake shows soonest.
pub fn run() -> Result<()> {
    let begun = Instant::now();
    let (mut ended, mut open) = (Vec::new(), 0);
    let steps: [(&str, Step); 6] = [
        ("setup", || setup::run(&setup::EVERYTHING).map(|()| None)),
        ("check", || check::check().map(|()| None)),
        ("units", || units().map(|()| None)),
        ("worlds", || worlds().map(|()| None)),
        ("probe", probe),
        ("vm 6.1", || vm::run(false, None).map(|()| None)),
    ];
    for (name, step) in steps {
        let started = Instant::now();
        eprintln!("== {name}");
        let not_shown = step().with_context(|| format!("step `{name}` failed"))?;
        ended.push(match not_shown {
            None => format!("  {name:8} passed in {:>4} s", started.elapsed().as_secs()),
            Some(why) => {
                open += 1;
                format!("  {name:8} {why}")
            }
        });
    }
    println!("{}", ended.join("\n"));
    let seconds = begun.elapsed().as_secs();
    match open {
        0 => println!("everything passed in {seconds} s"),
        open => println!(
            "NOT everything was shown: {open} step(s) above say what; the rest passed in {seconds} s"
        ),
    }
    Ok(())
}

/// The committed object against a rebuild. Debian's compiler moves on, so other tools are no failure; but they are said.
fn probe() -> Result<Option<String>> {
    Ok(match ebpf::rebuilt()? {
        ebpf::Verdict::Same => None,
        ebpf::Verdict::NotCompared(why) => Some(why),
    })
}

/// The tests beside the code.
fn units() -> Result<()> {
    run_command(cargo_static("test").args(["--package", "afterimage", "--package", "xtask"]))?;
    run_command(cargo_static("test").args(["--package", "afterimage-ebpf", "--package", "e2e", "--lib"]))
}

/// The whole program, in private worlds, one after the other.
fn worlds() -> Result<()> {
    let folder = binaries::build()?;
    run_command(
        cargo_static("test")
            .args(["--package", "e2e", "--test", "*", "--", "--test-threads=1"])
            .env("AFTERIMAGE_BINARIES", folder),
    )
}
