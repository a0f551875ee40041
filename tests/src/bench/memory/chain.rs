//! What people do today: gcore, zstd, sha256sum; or varc.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::target::Target;
use super::{Cost, ours};
use crate::bench::figure::Figure;
use crate::judges;
use crate::world::OUT;

/// One process of varc's, and neither its open files nor a picture of the screen.
const VARC: &str = "import resource, sys
from varc_core.systems.linux import LinuxSystem
LinuxSystem(process_id=int(sys.argv[1]), include_open=False, take_screenshot=False, output_path=sys.argv[2])
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)";

/// gcore, then zstd, then sha256sum of the compressed core, as its user would type them.
pub fn take(target: &mut Target) -> Result<Cost> {
    target.settle()?;
    target.longest_stop()?;
    let before = target.resident_mib()?;
    let pid = target.pid().to_string();
    let core = Path::new(OUT).join("chain");
    let (dump, pressed) = (format!("{}.{pid}", core.display()), format!("{}.zst", core.display()));
    let (begun, busy) = (Instant::now(), cpu_of_children()?);
    run(Command::new("gcore").arg("-o").arg(&core).arg(&pid))?;
    run(Command::new("zstd").args(["-q", "-1", "-T2", "-o", &pressed, &dump]))?;
    run(Command::new("sha256sum").arg(&pressed))?;
    let (whole, cpu) = (begun.elapsed().as_secs_f64(), cpu_of_children()? - busy);
    let stopped = target.longest_stop()?;
    let growth = target.resident_mib()? - before;
    let size = fs::metadata(&pressed)?.len() as f64 / 1024.0 / 1024.0;
    fs::remove_file(dump)?;
    fs::remove_file(pressed)?;
    Ok(Cost { whole, cpu, stopped, growth, memory: 0.0, size })
}

/// Seconds of all children that were waited for.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(())
}

/// varc's time for the dense process, beside ours; once, as it takes long.
pub fn varc() -> Result<Vec<Figure>> {
    let agent = ours::start("")?;
    let mut target = Target::resident(1024, 0)?;
    let ours = ours::take(&agent, &mut target)?;
    agent.stop()?;
    let zip = Path::new(OUT).join("varc.zip");
    let begun = Instant::now();
    let mut command = Command::new("python3");
    command.args(["-c", VARC, &target.pid().to_string()]).arg(&zip);
    command.env("PYTHONPATH", judges::site_packages()?).current_dir("/tmp").stdin(Stdio::null());
    let output = command.output().context("start varc")?;
    let whole = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "varc: {}: {said}", output.status);
    let size = fs::metadata(&zip).context("varc's result")?.len() as f64 / 1024.0 / 1024.0;
    ensure!(size > 200.0, "varc took {size:.0} MiB, which is not the memory: {said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let peak = printed.lines().find_map(|line| line.strip_prefix("peak ")).unwrap_or_default();
    let peak: f64 = peak.parse().unwrap_or_default();
    let ratio = ours.whole / whole;
    let shown = format!("{ratio:.3} ({:.3} s and {whole:.1} s)", ours.whole);
    let note =
        format!("once; varc hashes nothing, its zip has {size:.0} MiB, its memory {:.0} MiB", peak / 1024.0);
    Ok(vec![
        Figure::new("1 GiB, dense: request to sealed bundle / varc, this process only", ratio, shown)
            .note(note),
    ])
}
