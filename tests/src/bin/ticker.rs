//! A target whose going on can be seen: `ticker MEBIBYTES` fills so much memory with bytes that do not compress, says
//! `ready`, and sleeps a thousand times a second until its stdin is closed, two minutes at most.

use std::io::{Read, stdin};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result};

const LIFETIME: Duration = Duration::from_secs(170);

fn main() -> Result<()> {
    let mebibytes: usize = env::args().nth(1).context("usage: ticker MEBIBYTES")?.parse()?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let memory: Vec<u64> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
    .take(mebibytes << 17)
    .collect();
    thread::spawn(|| {
        drop(stdin().read(&mut [0]));
        process::exit(0);
    });
    println!("ready");
    let begun = Instant::now();
    while begun.elapsed() < LIFETIME {
        thread::sleep(Duration::from_millis(1));
        std::hint::black_box(&memory);
    }
    Ok(())
}
