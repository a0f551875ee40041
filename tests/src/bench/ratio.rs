//! Times with and without, in one run, alternating.

use std::path::Path;

use anyhow::Result;

use crate::agent::Agent;
use crate::world::BIN;
use crate::{storm, story};

/// First figure.
pub fn measure() -> Result<()> {
    let tiny = Path::new(BIN).join("tiny");
    let one = || Ok::<f64, anyhow::Error>(storm::run(&["--times", "5000"], &tiny)?.us_per_life);
    let mut before = one()?;
    let mut ratios = Vec::new();
    for _ in 0..9 {
        std::fs::remove_dir_all("/var/lib/afterimage").ok();
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let with = one()?;
        agent.stop()?;
        let after = one()?;
        println!("without {before:.1} us, with {with:.1} us, without {after:.1} us");
        ratios.push(with * 2.0 / (before + after));
        before = after;
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratios {ratios:.2?}");
    Ok(())
}
