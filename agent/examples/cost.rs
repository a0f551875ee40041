//! What the probe costs: `cost COMMAND...` attaches it, runs the command, and prints runs and kernel time of each program.
//! For trials, in a world of its own.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use afterimage::kernel::{Options, Probe, boot_id};
use anyhow::Context;
use aya::sys::{Stats, enable_stats};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().context("usage: cost COMMAND...")?;
    let arguments: Vec<String> = arguments.collect();
    let proc_root = PathBuf::from("/proc");
    let boot = boot_id(&proc_root)?;
    let begun = Instant::now();
    let mut probe = Probe::start(&Options::new(boot, proc_root))?;
    println!("started in {:?}", begun.elapsed());
    for program in &probe.report().programs {
        println!("{} {:?} {:?}", program.name, program.fate, program.self_check);
    }
    let _counting = enable_stats(Stats::RunTime)?;
    let before = probe.cost();
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    let (mut events, mut bytes) = (0_usize, 0_usize);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let load = scope.spawn(|| {
            let status = Command::new(&program).args(&arguments).status();
            over.store(true, Ordering::Relaxed);
            status
        });
        while !over.load(Ordering::Relaxed) {
            events += probe.drain(&mut |event| {
                bytes += serde_json::to_string(&event).map_or(0, |line| line.len());
            });
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("{:?} after {:?}", load.join(), begun.elapsed());
        Ok(())
    })?;
    println!("{events} records, {bytes} bytes as JSON, lost {}", probe.counts().lost);
    for ((name, runs, time), (_, runs_before, time_before)) in probe.cost().into_iter().zip(before) {
        let (runs, time) = (runs - runs_before, time.saturating_sub(time_before));
        if let Ok(runs) = u32::try_from(runs)
            && runs > 0
        {
            println!("{name:10} {runs:>9} runs  {:>6} ns each", (time / runs).as_nanos());
        }
    }
    Ok(())
}
