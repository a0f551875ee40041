//! Measuring, in private worlds: `cargo xtask bench`.

mod churn;
mod door;
mod figure;
mod kept;
mod kernel_time;
mod killed;
mod load;
mod memory;
mod mixed;
mod ratio;
mod record;
mod sweep;
mod triage;
mod trigger;
mod watcher;

use anyhow::{Context, Result, ensure};

use self::figure::Figure;
use crate::world;

/// What is measured in one world.
struct Part {
    /// Its world's name, alone in the whole benchmark.
    name: &'static str,
    /// Measures; fails when it could not, not when a goal was missed.
    measure: fn() -> Result<Vec<Figure>>,
}

/// Half an hour: only when it is asked for.
const CHURN: &str = "churn";

/// The parts of `cargo xtask bench GROUP`, by group.
const GROUPS: [(&str, &[Part]); 8] = [
    (CHURN, &churn::PARTS),
    ("door", &[Part { name: "door", measure: door::measure }]),
    ("history", &[Part { name: "mixed", measure: mixed::measure }]),
    ("memory", &memory::PARTS),
    ("record", &record::PARTS),
    ("sweep", &[Part { name: "sweep", measure: sweep::measure }]),
    ("triage", &[Part { name: "triage", measure: triage::measure }]),
    ("trigger", &[Part { name: "trigger", measure: trigger::measure }]),
];

/// Runs one group, or all but the longest; or only the part of this name.
pub fn run_group(wanted: Option<&str>) -> Result<()> {
    let is_wanted = |group: &str, part: &Part| {
        wanted.map_or(group != CHURN || world::name().is_some(), |name| name == group || name == part.name)
    };
    let of_group = |(group, parts): &(&'static str, &'static [Part])| {
        let group = *group;
        parts.iter().filter(move |part| is_wanted(group, part))
    };
    let parts: Vec<&Part> = GROUPS.iter().flat_map(of_group).collect();
    ensure!(!parts.is_empty(), "there is nothing called {wanted:?} to be measured");
    run(&parts)?;
    if world::name().is_none() && matches!(wanted, None | Some("record")) {
        println!("\n{}", record::LEFT_OUT);
    }
    Ok(())
}

/// One after the other, each in a world of its own, and a table at the end; in a world, the part it was made for.
fn run(parts: &[&Part]) -> Result<()> {
    if let Some(name) = world::name() {
        let part = parts.iter().find(|part| part.name == name).context("a world for no part of this")?;
        return world::enter(part.name, None, || figure::leave(&(part.measure)()?));
    }
    let mut figures = Vec::new();
    for part in parts {
        let results = tempfile::tempdir()?;
        match world::enter(part.name, Some(results.path()), || Ok(()))
            .and_then(|()| figure::collect(results.path()))
        {
            Ok(measured) => figures.extend(measured),
            Err(error) => figures.push(Figure::missing(part.name, format!("{error:#}"))),
        }
    }
    figure::print(&figures);
    let failed = figures.iter().filter(|figure| figure.value.is_none()).count();
    ensure!(failed == 0, "{failed} figure(s) could not be measured: the notes say why");
    Ok(())
}
