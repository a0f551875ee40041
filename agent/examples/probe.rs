//! Prints what the probe sees, one JSON object a line, for some seconds: `probe [SECONDS]`. For trials, in a world of
//! its own.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::cmp::Ordering;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use afterimage::kernel::{Options, Probe, boot_id};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Between two looks into the ring.
const ROUND: Duration = Duration::from_millis(5);
/// Looks that found nothing, until the reader sleeps.
const QUIET: u32 = 10;

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let proc_root = PathBuf::from("/proc");
    let boot = boot_id(&proc_root)?;
    let mut probe = Probe::start(&Options::new(boot, proc_root))?;
    println!("{}", serde_json::to_string(probe.report())?);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut quiet = 0;
    while Instant::now() < end {
        let came = probe.drain(&mut |event| match serde_json::to_string(&event) {
            Ok(line) => println!("{line}"),
            Err(error) => println!("{error}"),
        });
        for loss in probe.losses() {
            println!("{}", serde_json::to_string(&loss)?);
        }
        quiet = if came == 0 { quiet + 1 } else { 0 };
        match quiet.cmp(&QUIET) {
            Ordering::Less => std::thread::sleep(ROUND),
            // One more look after saying so: a record may have come in between.
            Ordering::Equal => probe.set_idle(true),
            Ordering::Greater => {
                poll(&mut [PollFd::new(probe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000_u16))?;
                probe.set_idle(false);
                quiet = 0;
            }
        }
    }
    println!("{}", serde_json::to_string(&probe.counts())?);
    Ok(())
}
