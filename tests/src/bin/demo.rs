//! `cargo xtask demo`: tells the story in a private world, aloud.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use e2e::{story, world};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let results = env::args_os().nth(1).context("usage: demo FOLDER-FOR-THE-RESULTS")?;
    world::enter("demo", Some(Path::new(&results)), || {
        story::tell(|sentence| println!("{sentence}"))?;
        Ok(())
    })
}
