//! Prints what the probe sees, one JSON object a line, for some seconds: `probe [SECONDS]`. For trials, in a world of
//! its own.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use afterimage::kernel::{Options, Probe, boot_id};

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let proc_root = PathBuf::from("/proc");
    let boot = boot_id(&proc_root)?;
    let mut probe = Probe::start(&Options { boot, proc_root, btf: None })?;
    println!("{}", serde_json::to_string(probe.report())?);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        probe.drain(&mut |event| match serde_json::to_string(&event) {
            Ok(line) => println!("{line}"),
            Err(error) => println!("{error}"),
        });
        for loss in probe.losses() {
            println!("{}", serde_json::to_string(&loss)?);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{}", serde_json::to_string(&probe.counts())?);
    Ok(())
}
