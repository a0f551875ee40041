//! A load's time with somebody watching, as a ratio to the time without, alternating in one run.

use anyhow::Result;

use super::figure::Figure;
use super::load::Load;
use super::watcher::{self, Watcher};
use crate::net;
use crate::world::BIN;

/// Each with a time without before and after it.
const ROUNDS: usize = 11;
/// Baselines that differ by more than this say that others used the machine.
const QUIET: f64 = 0.15;

/// Measures one watcher over one load.
pub fn measure(watcher: Watcher, load: Load) -> Result<Vec<Figure>> {
    let what = format!("{}, {}", load.name(), watcher.name());
    net::loopback_up()?;
    if watcher != Watcher::Agent {
        watcher::furnish()?;
    }
    if let Err(error) = watcher.works(&std::path::Path::new(BIN).join("brief")) {
        return Ok(vec![Figure::missing(what, format!("{error:#}"))]);
    }
    let sample = || {
        load.prepare()?;
        load.run()
    };
    sample()?;
    let mut alone = vec![sample()?];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let before = alone.last().copied().unwrap_or_default();
        let watching = watcher.start()?;
        let with = sample()?;
        watching.stop()?;
        let after = sample()?;
        println!("{what}: without {before:.1} us, with {with:.1} us, without {after:.1} us");
        ratios.push(with * 2.0 / (before + after));
        alone.push(after);
    }
    let (low, median, high) = quartiles(&mut ratios);
    let (from, base, to) = quartiles(&mut alone);
    let shown = format!("{median:.3} ({low:.2} to {high:.2}; {base:.0} us without)");
    let mut figure = Figure::new(what, median, shown);
    if watcher == Watcher::Agent {
        figure = figure.at_most(load.goal());
    }
    let spread = (to - from) / base;
    if spread > QUIET {
        let percent = spread * 100.0;
        figure =
            figure.note(format!("the times without it spread by {percent:.0} %: others used the machine"));
    }
    Ok(vec![figure])
}

/// A quarter lies below the first, half below the second, a quarter above the third.
fn quartiles(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at =
        |part: usize| values.get((values.len().saturating_sub(1)) * part / 4).copied().unwrap_or(f64::NAN);
    (at(1), at(2), at(3))
}
