//! `afterimage doctor`: what this host lets us see and take, and in words why not.

use std::io::Write;

use serde::Serialize;

use super::{Context, Error, Exit};
use crate::doctor::{self, Verdict};

/// Says what this host lets us see and take, what is missing, and what that costs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed and nothing is collected. As root it also tries, for a moment, which kinds of \
                        programs the kernel takes."
)]
pub struct DoctorArgs {}

#[derive(Serialize)]
struct Report {
    root: bool,
    checks: Vec<doctor::Check>,
}

/// Prints the checks. The exit status is 1 when the recorder could not work at all.
pub fn run(_: &DoctorArgs, context: &Context) -> Result<Exit, Error> {
    let root = nix::unistd::geteuid().is_root();
    let checks = doctor::examine(&context.config, root);
    let cannot = checks.iter().any(|check| check.verdict == Verdict::Blocks);
    if context.json {
        context.print_json(&Report { root, checks })?;
    } else {
        let mut out = context.out();
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "  ok   ",
                Verdict::Missing => "  miss ",
                Verdict::Blocks => "  STOP ",
                Verdict::Unknown => "  ?    ",
            };
            writeln!(out, "{mark} {:<16} {}", check.name, check.found)?;
            if let Some(cost) = &check.cost {
                writeln!(out, "        {:<16} {cost}", "")?;
            }
        }
        writeln!(out, "\n{}", summary(&checks, root))?;
        out.flush()?;
    }
    Ok(if cannot { Exit::Failed } else { Exit::Done })
}

fn summary(checks: &[doctor::Check], root: bool) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (missing, blocks) = (count(Verdict::Missing), count(Verdict::Blocks));
    if !root {
        return "Run `sudo afterimage doctor` for the rest: recording needs root, or CAP_BPF, CAP_PERFMON (the probe), \
                CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (other users' processes and files)."
            .to_owned();
    }
    match (blocks, missing) {
        (0, 0) => "Everything that afterimage uses is there.".to_owned(),
        (0, _) => format!(
            "afterimage works on this host; {missing} thing(s) are missing, each with its cost above."
        ),
        _ => format!("afterimage cannot work on this host: see the {blocks} line(s) marked STOP."),
    }
}
