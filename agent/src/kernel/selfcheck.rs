//! The self-check: happenings of our own making, as the probe tells them and as /proc does. A program that disagrees is
//! not believed. A record of ours that was lost, as in a flood of others', says nothing against its program.

mod child;
mod network;

use std::io;
use std::time::{Duration, Instant};

use super::probe::{Options, Probe};
use super::ring::ROUND;
use super::scan;
use crate::event::{Event, ProcessId};
use crate::proc::Stat;

/// What the check of one program found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was compared, in words.
    Agrees(String),
    /// What differs, in words.
    Disagrees(String),
    /// Why nothing could be compared.
    Unchecked(String),
}

/// What one try found of each program; an error says which record did not arrive.
type Findings = Vec<(&'static str, Result<Verdict, String>)>;

/// Something that we made happen.
trait Trial {
    /// Whether `event` tells of it.
    fn concerns(&self, event: &Event) -> bool;
    /// What the events that came say of each program.
    fn findings(&self, events: &[Event]) -> Findings;
}

/// One try of a check.
struct Try {
    findings: Findings,
    /// Records were lost meanwhile, or the ring could not be emptied in time.
    lost: bool,
}

/// How often something is made to happen until its records arrive.
const TRIES: usize = 3;
/// How long the records of a try are waited for; the kernel writes them before the happening returns.
const PATIENCE: Duration = Duration::from_millis(200);
/// Between two looks into an empty ring.
const PAUSE: Duration = Duration::from_millis(1);
/// Rounds that empty a full ring, its shortest record being 56 bytes with the ring's own header.
const ROUNDS: usize = 10;

/// Checks every attached program; takes those off that disagree. The check's own events do not reach the history.
pub(super) fn run(probe: &mut Probe, options: &Options) {
    check(probe, &child::PROGRAMS, || child::Child::happen(options));
    check(probe, &network::PROGRAMS, || network::Network::happen(options));
}

fn check<T: Trial>(probe: &mut Probe, programs: &[&'static str], happen: impl Fn() -> io::Result<T>) {
    let mut names = programs.to_vec();
    names.retain(|name| probe.report().is_attached(name));
    let mut tries: Vec<Try> = Vec::new();
    while tries.len() < TRIES && names.iter().any(|name| found(&tries, name).is_none()) {
        tries.push(attempt(probe, &names, &happen));
    }
    for name in names {
        probe.judge(name, settle(&tries, name));
    }
}

fn attempt<T: Trial>(probe: &mut Probe, names: &[&'static str], happen: &impl Fn() -> io::Result<T>) -> Try {
    // What others fill the ring with makes room for our own.
    for _ in 0..ROUNDS {
        if probe.look(&|_| false, &mut Vec::new()) < ROUND {
            break;
        }
    }
    let before = probe.counts();
    let trial = match happen() {
        Ok(trial) => trial,
        Err(error) => {
            let reason = |name: &&'static str| (*name, Ok(Verdict::Unchecked(error.to_string())));
            return Try { findings: names.iter().map(reason).collect(), lost: false };
        }
    };
    let (deadline, mut own) = (Instant::now() + PATIENCE, Vec::new());
    let (findings, full) = loop {
        let full = probe.look(&|event| trial.concerns(event), &mut own) >= ROUND;
        let findings = trial.findings(&own);
        let missing = findings
            .iter()
            .any(|(name, finding)| finding.is_err() && names.iter().any(|other| other == name));
        if !missing || Instant::now() >= deadline {
            break (findings, full);
        }
        if !full {
            std::thread::sleep(PAUSE);
        }
    };
    let after = probe.counts();
    let counted = after.lost > before.lost || after.skipped > before.skipped;
    Try { findings, lost: full || counted || !(before.known && after.known) }
}

/// What the tries found of the program called `name`; `None` when its records never came.
fn found<'a>(tries: &'a [Try], name: &str) -> Option<&'a Verdict> {
    let all = || tries.iter().flat_map(|one| &one.findings).filter(|(other, _)| *other == name);
    let mut came = all().filter_map(|(_, finding)| finding.as_ref().ok());
    let differs = came.clone().find(|verdict| matches!(verdict, Verdict::Disagrees(_)));
    differs.or_else(|| came.next())
}

/// The verdict on the program called `name`. Only a record that came and differs, or never came although nothing was
/// lost, speaks against it.
fn settle(tries: &[Try], name: &str) -> Verdict {
    if let Some(verdict) = found(tries, name) {
        return verdict.clone();
    }
    let missing = tries.iter().flat_map(|one| &one.findings).rfind(|(other, _)| *other == name);
    let missing = match missing {
        Some((_, Err(missing))) => missing,
        _ => "a record of it",
    };
    let times = tries.len();
    if tries.iter().any(|one| one.lost) {
        Verdict::Unchecked(format!(
            "{missing} did not arrive in {times} tries, and records were lost meanwhile"
        ))
    } else {
        Verdict::Disagrees(format!("{missing} did not arrive in {times} tries, although none was lost"))
    }
}

fn identity(folder: &std::path::Path, options: &Options) -> io::Result<ProcessId> {
    let stat = Stat::parse(&scan::read(&folder.join("stat"))?).map_err(io::Error::other)?;
    Ok(ProcessId { boot: options.boot, pid: stat.pid, start: stat.start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(finding: Result<Verdict, &str>, lost: bool) -> Try {
        Try { findings: vec![("exec", finding.map_err(str::to_owned))], lost }
    }

    fn agrees() -> Verdict {
        Verdict::Agrees("the same".to_owned())
    }

    fn differs() -> Verdict {
        Verdict::Disagrees("another".to_owned())
    }

    #[test]
    fn a_record_that_never_came_counts_only_where_none_was_lost() {
        let absent = |lost| one(Err("the exec"), lost);
        assert!(found(&[absent(true)], "exec").is_none());
        let Verdict::Unchecked(why) = settle(&[absent(false), absent(true), absent(false)], "exec") else {
            panic!("it is judged")
        };
        assert!(why.starts_with("the exec did not arrive in 3 tries") && why.contains("lost"), "{why}");
        let verdict = settle(&[absent(false), absent(false), absent(false)], "exec");
        assert!(matches!(verdict, Verdict::Disagrees(_)), "{verdict:?}");
    }

    #[test]
    fn what_came_counts_whatever_was_lost() {
        let absent = || one(Err("the exec"), true);
        assert_eq!(settle(&[absent(), one(Ok(agrees()), true)], "exec"), agrees());
        assert_eq!(settle(&[absent(), one(Ok(differs()), true)], "exec"), differs());
        assert_eq!(settle(&[one(Ok(agrees()), false), one(Ok(differs()), false)], "exec"), differs());
    }

    #[test]
    fn what_could_not_be_made_to_happen_is_not_held_against_the_program() {
        let unchecked = Verdict::Unchecked("no child".to_owned());
        let tries = [one(Err("the exec"), false), one(Ok(unchecked.clone()), false)];
        assert_eq!(settle(&tries, "exec"), unchecked);
        // Another program's findings say nothing of this one.
        assert!(found(&tries, "fork").is_none());
    }
}
