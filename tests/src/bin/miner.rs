//! `x`: hides its work in ~/.cache/.sys/ and goes on until it is killed.

use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result};

/// It does not stay for ever, even if nobody ends it.
const AT_MOST: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let home = env::var("HOME").context("HOME is not set")?;
    let folder = format!("{home}/.cache/.sys");
    fs::create_dir_all(&folder)?;
    fs::write(format!("{folder}/config.json"), "{\"pool\": \"pool.example:3333\", \"cpu\": 0}\n")?;
    env::set_current_dir(&folder)?;
    thread::sleep(AT_MOST);
    Ok(())
}
