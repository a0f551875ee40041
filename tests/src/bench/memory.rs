//! `cargo xtask bench memory`: a process's memory as evidence, against gcore, zstd and sha256sum, and against varc.
//!
//! In one run, by turns. The agent's time is from the command to the sealed, signed bundle on disk; the chain's is from gcore's
//! start to the hash, without anything that makes it reach the disk.

mod chain;
mod first;
mod ours;
mod target;

use std::time::{Duration, Instant};

use anyhow::Result;

use self::target::Target;
use super::Part;
use super::figure::Figure;
use super::ratio::quartiles;

/// All of it; see docs/testing.md.
pub(super) const PARTS: [Part; 7] = [
    Part { name: "memory_first", measure: first::measure },
    Part { name: "memory_dense", measure: || measure(&DENSE) },
    Part { name: "memory_streamed", measure: || measure(&STREAMED) },
    Part { name: "memory_reserved", measure: || measure(&RESERVED) },
    Part { name: "memory_node", measure: || measure(&NODE) },
    Part { name: "memory_go", measure: || measure(&GO) },
    Part { name: "memory_varc", measure: chain::varc },
];

/// One target, and what the agent should reach with it.
struct Trial {
    name: &'static str,
    target: fn() -> Result<Target>,
    /// The agent's configuration.
    config: &'static str,
    /// Time from the command to the sealed bundle, of the chain's.
    whole: Option<f64>,
    /// The longest time for which the target did not run, of that under gcore.
    stopped: Option<f64>,
    /// The collector's memory, MiB.
    memory: f64,
}

const DENSE: Trial = Trial {
    name: "1 GiB, dense",
    target: || Target::resident(1024, 0),
    config: "",
    whole: Some(0.25),
    stopped: Some(0.35),
    memory: 256.0,
};

const STREAMED: Trial = Trial {
    name: "1 GiB, dense, nothing buffered",
    config: "[capture]\nbuffer_bytes = 0\nspool_bytes = 0\n",
    stopped: None,
    memory: 64.0,
    ..DENSE
};

const RESERVED: Trial = Trial {
    name: "1 GiB, and 4 GiB reserved",
    target: || Target::resident(1024, 4),
    whole: Some(0.08),
    ..DENSE
};

const NODE: Trial = Trial { name: "Node.js", target: Target::node, whole: None, stopped: None, ..DENSE };

const GO: Trial = Trial { name: "a Go program (age)", target: Target::go, ..NODE };

/// MiB by which the target may grow.
const GROWTH: f64 = 1.0;
/// So many rounds at least,
const ROUNDS: usize = 3;
/// and more while there is time in the world.
const BUDGET: Duration = Duration::from_secs(75);
const ROUNDS_MAX: usize = 15;

/// What one way to the evidence cost.
#[derive(Debug)]
struct Cost {
    /// All of it.
    whole: f64,
    /// Processor time of all that took part.
    cpu: f64,
    /// The target's longest stop, in seconds, if it knows.
    stopped: Option<f64>,
    /// MiB by which it grew.
    growth: f64,
    /// MiB of the one that takes, at most.
    memory: f64,
    /// MiB of the result.
    size: f64,
}

fn measure(trial: &Trial) -> Result<Vec<Figure>> {
    let agent = ours::start(trial.config)?;
    let begun = Instant::now();
    let (mut taken, mut chain) = (Vec::new(), Vec::new());
    while taken.len() < ROUNDS || (begun.elapsed() < BUDGET && taken.len() < ROUNDS_MAX) {
        // A new one each time, and ours first: gcore touches every page, and leaves its target with more of them.
        let mut target = (trial.target)()?;
        let (ours, theirs) = (ours::take(&agent, &mut target)?, chain::take(&mut target)?);
        println!("{}: {ours:?}; the chain: {theirs:?}", trial.name);
        taken.push(ours);
        chain.push(theirs);
    }
    agent.stop()?;
    Ok(figures(trial, &taken, &chain))
}

fn figures(trial: &Trial, taken: &[Cost], chain: &[Cost]) -> Vec<Figure> {
    let name = trial.name;
    let goal = |figure: Figure, goal| Figure { at_most: goal, ..figure };
    let whole = ratio(
        format!("{name}: request to sealed bundle / gcore, zstd -1 -T2, sha256sum"),
        taken.iter().map(|cost| cost.whole),
        chain.iter().map(|cost| cost.whole),
    );
    let mut figures = vec![goal(whole, trial.whole)];
    figures.push(ratio(
        format!("{name}: the same in processor time"),
        taken.iter().map(|cost| cost.cpu),
        chain.iter().map(|cost| cost.cpu),
    ));
    if taken.iter().chain(chain).all(|cost| cost.stopped.is_some()) {
        let stopped = ratio(
            format!("{name}: the target's longest stop / that under gcore"),
            taken.iter().filter_map(|cost| cost.stopped),
            chain.iter().filter_map(|cost| cost.stopped),
        );
        figures.push(goal(stopped, trial.stopped));
    }
    let worst = |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).fold(0.0, f64::max);
    let growth = worst(taken, |cost| cost.growth);
    let shown = format!("{growth:.2}; {:.2} under gcore", worst(chain, |cost| cost.growth));
    figures.push(Figure::new(format!("{name}: the target's growth, MiB"), growth, shown).at_most(GROWTH));
    let memory = worst(taken, |cost| cost.memory);
    let what = format!("{name}: the collector's memory, MiB");
    figures.push(Figure::new(what, memory, format!("{memory:.1}")).at_most(trial.memory));
    let size = |costs: &[Cost]| median(costs.iter().map(|cost| cost.size));
    let shown = format!("{:.1}; {:.1} of zstd", size(taken), size(chain));
    figures.push(Figure::new(format!("{name}: the bundle, MiB"), size(taken), shown));
    figures
}

/// The median of the rounds' ratios.
fn ratio(
    what: String,
    ours: impl Iterator<Item = f64> + Clone,
    theirs: impl Iterator<Item = f64> + Clone,
) -> Figure {
    let mut ratios: Vec<f64> = ours.clone().zip(theirs.clone()).map(|(ours, theirs)| ours / theirs).collect();
    let (low, middle, high) = quartiles(&mut ratios);
    let rounds = ratios.len();
    let shown = format!("{middle:.3} ({:.3} s and {:.3} s)", median(ours), median(theirs));
    Figure::new(what, middle, shown).note(format!("{rounds} rounds, quartiles {low:.3} and {high:.3}"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quartiles(&mut values.collect::<Vec<f64>>()).1
}
