//! How soon the first of a process's memory is safe on the disk.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::target::Target;
use super::{ours, ratio};
use crate::bench::figure::Figure;
use crate::judges::Bag;
use crate::world::OUT;

const MIB: u32 = 64;
const GOAL: f64 = 1.3;
const ROUNDS: usize = 11;
const CHUNK: usize = 1 << 20;

/// The agent's own account of when the first 64 MiB were hashed, compressed, written and synchronised, counted from when it
/// began to stop the target, against a copy of the same memory with nothing but fdatasync.
pub fn measure() -> Result<Vec<Figure>> {
    let agent = ours::start("")?;
    let (mut taken, mut copied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let target = Target::resident(MIB, 0)?;
        target.settle()?;
        copied.push(copy(&target)?);
        let bundle = agent.capture(&["--pid", &target.pid().to_string(), "--output", OUT])?;
        taken.push(safe_after(&bundle, &target)?);
        fs::remove_file(bundle)?;
    }
    agent.stop()?;
    let what = "64 MiB: hashed, compressed and on the disk / a plain copy with fdatasync";
    Ok(vec![ratio(what.to_owned(), taken.into_iter(), copied.into_iter()).at_most(GOAL)])
}

fn copy(target: &Target) -> Result<f64> {
    let (address, length) = target.said.trim().split_once(' ').context("no address")?;
    let (mut at, length) =
        (u64::from_str_radix(address.trim_start_matches("0x"), 16)?, length.parse::<u64>()?);
    let end = at + length;
    let path = Path::new(OUT).join("copy");
    let memory = File::open(format!("/proc/{}/mem", target.pid()))?;
    let mut chunk = vec![0; CHUNK];
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    while at < end {
        memory.read_exact_at(&mut chunk, at)?;
        file.write_all(&chunk)?;
        at += CHUNK as u64;
    }
    file.sync_data()?;
    let time = begun.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(time)
}

fn safe_after(bundle: &Path, target: &Target) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let bag = Bag::extract(bundle, folder.path())?;
    let seen = crate::proc::Seen::of(target.pid())?;
    let path = bag.file(&format!("data/process/{}-{}/core.json", seen.pid, seen.start));
    let report: Value = serde_json::from_slice(&fs::read(&path).context("read core.json")?)?;
    let safe = &report["safe"];
    ensure!(safe["bytes"].as_u64() >= Some(u64::from(MIB) << 20), "{safe}");
    Ok(safe["after_us"].as_f64().context("no time")? / 1e6)
}
