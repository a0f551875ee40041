//! A load's time with somebody watching, as a ratio to the time without, alternating in one run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::figure::Figure;
use super::load::Load;
use super::watcher::{self, Watcher};
use crate::net;
use crate::world::BIN;

/// So many rounds at least, each with a time without before and after it,
const ROUNDS: usize = 11;
/// and more while there is time in the world.
const BUDGET: Duration = Duration::from_secs(100);
/// A time without that is this much above the quiet ones says that others used the machine.
pub(super) const NOISE: f64 = 0.15;
/// Fewer rounds than this are no measurement.
const ENOUGH: usize = 7;

/// The times of one round, in µs.
struct Round {
    before: f64,
    with: f64,
    after: f64,
}

/// Measures one watcher over one load.
pub(super) fn measure(watcher: Watcher, load: Load) -> Result<Vec<Figure>> {
    let what = format!("{}, {}", load.name(), watcher.name());
    net::loopback_up()?;
    if watcher != Watcher::Agent {
        watcher::furnish()?;
    }
    if let Err(error) = watcher.works(&Path::new(BIN).join("brief")) {
        return Ok(vec![Figure::missing(what, format!("{error:#}"))]);
    }
    let goal = Some(load.goal()).filter(|_| watcher == Watcher::Agent);
    Ok(vec![Figure { at_most: goal, ..figure(what, &rounds(watcher, load)?) }])
}

fn rounds(watcher: Watcher, load: Load) -> Result<Vec<Round>> {
    let sample = || {
        load.prepare()?;
        load.run()
    };
    sample()?;
    let begun = Instant::now();
    let (mut before, mut rounds) = (sample()?, Vec::new());
    while rounds.len() < ROUNDS || begun.elapsed() < BUDGET {
        let watching = watcher.start()?;
        let with = sample()?;
        watching.stop()?;
        let after = sample()?;
        println!("without {before:.1} us, with {with:.1} us, without {after:.1} us");
        rounds.push(Round { before, with, after });
        before = after;
    }
    Ok(rounds)
}

/// The median of the rounds in which nobody else used the machine.
fn figure(what: String, rounds: &[Round]) -> Figure {
    let mut alone: Vec<f64> = rounds.iter().flat_map(|round| [round.before, round.after]).collect();
    let (quiet, base, third) = quartiles(&mut alone);
    let spread = (third - quiet) / base * 100.0;
    let is_quiet = |round: &&Round| round.before.max(round.after) <= quiet * (1.0 + NOISE);
    let mut ratios: Vec<f64> =
        rounds.iter().filter(is_quiet).map(|round| round.with * 2.0 / (round.before + round.after)).collect();
    let (used, all) = (ratios.len(), rounds.len());
    let mut note = String::new();
    if spread > NOISE * 100.0 || used < all {
        note = format!(
            "{used} of {all} rounds count; the times without spread by {spread:.0} %: others used the machine"
        );
    }
    if used < ENOUGH {
        return Figure::missing(what, format!("{note}; {ENOUGH} are needed"));
    }
    let (low, median, high) = quartiles(&mut ratios);
    let shown = format!("{median:.3} ({low:.2} to {high:.2}; {quiet:.0} us without)");
    Figure::new(what, median, shown).note(note)
}

/// A quarter lies below the first, half below the second, a quarter above the third.
pub(super) fn quartiles(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at =
        |part: usize| values.get((values.len().saturating_sub(1)) * part / 4).copied().unwrap_or(f64::NAN);
    (at(1), at(2), at(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_in_which_others_used_the_machine_do_not_count() {
        let quiet = |with| Round { before: 100.0, with, after: 102.0 };
        let mut rounds: Vec<Round> = (0..7).map(|number| quiet(110.0 + f64::from(number))).collect();
        rounds.push(Round { before: 102.0, with: 900.0, after: 300.0 });
        let figure = figure("x".to_owned(), &rounds);
        assert!(figure.value.is_some_and(|value| (1.11..1.13).contains(&value)), "{figure:?}");
        assert!(figure.note.starts_with("7 of 8 rounds count"), "{figure:?}");
        assert!(super::figure("x".to_owned(), &rounds[2..]).value.is_none());
    }

    #[test]
    fn quartiles_are_in_order() {
        assert_eq!(quartiles(&mut [5.0, 1.0, 3.0, 2.0, 4.0]), (2.0, 3.0, 4.0));
        assert!(quartiles(&mut []).1.is_nan());
    }
}
