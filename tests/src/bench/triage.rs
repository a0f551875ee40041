//! `cargo xtask bench triage`: a `triage` capture of a whole Debian beside a plain `tar | zstd` of the same files, in turns.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::figure::Figure;
use super::ratio::quartiles;
use crate::agent::Agent;
use crate::{debian, net, story};

const ROOT: &str = "/var/tmp/debian";
const LIST: &str = "/var/tmp/list";
const ROUNDS: usize = 5;
/// UAC took 550 s on a machine on which its own `tar czf` of what it had taken took 175 s; a tenth of it is the goal.
const UAC_BY_TAR: f64 = 550.0 / 175.0;

/// Takes both, in turns, so that neither finds more in the cache than the other.
pub fn measure() -> Result<Vec<Figure>> {
    net::loopback_up()?;
    debian::lay_out(Path::new(ROOT))?;
    fs::create_dir_all("/etc/afterimage")?;
    let settings =
        format!("[paths]\nroot = \"{ROOT}\"\n[captures]\nreserve_bytes = 1\n[door]\nenabled = false\n");
    fs::write("/etc/afterimage/afterimage.toml", settings)?;
    let agent = Agent::start(&story::program(), "/tmp/agent.log".as_ref())?;
    let (first, _) = capture(&agent)?;
    let files = list(&first)?;
    fs::remove_file(&first)?;
    let (mut captures, mut tars) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        tars.push(tar()?.as_secs_f64());
        let (bundle, time) = capture(&agent)?;
        fs::remove_file(bundle)?;
        captures.push(time.as_secs_f64());
        println!("tar | zstd {:.2} s, capture {:.2} s", tars[tars.len() - 1], captures[captures.len() - 1]);
    }
    agent.stop()?;
    let ((_, tar, _), (low, median, high)) = (quartiles(&mut tars), quartiles(&mut captures));
    let shown =
        format!("{median:.2} s ({low:.2} to {high:.2}); tar | zstd of the same {files} files {tar:.2} s");
    let ratio = median / tar;
    let note = format!(
        "{ratio:.2} times tar | zstd. The capture also looks at all files of the Debian (body file, hidden names, packages' sums) and \
         at all processes; UAC took {UAC_BY_TAR:.2} times its own tar czf on another machine"
    );
    Ok(vec![Figure::new("triage of a Debian, s", median, shown).at_most(55.0).note(note)])
}

/// The bundle, and how long it took.
fn capture(agent: &Agent) -> Result<(std::path::PathBuf, Duration)> {
    let begun = Instant::now();
    let bundle = agent.capture(&["--host", "--profile", "triage"])?;
    Ok((bundle, begun.elapsed()))
}

/// Writes the list of the Debian's files that are in a bundle; how many there are.
fn list(bundle: &Path) -> Result<usize> {
    let manifest = Command::new("tar")
        .args(["--zstd", "--wildcards", "-xOf"])
        .arg(bundle)
        .arg("*/capture.json")
        .output()?;
    let manifest: Value = serde_json::from_slice(&manifest.stdout).context("no manifest")?;
    let attempts = manifest["attempts"].as_array().context("no attempts")?;
    let files: Vec<&str> = attempts
        .iter()
        .filter(|one| one["artifact"].is_string())
        .filter_map(|one| one["subject"].as_str())
        .filter(|path| path.starts_with('/') && Path::new(&format!("{ROOT}{path}")).is_file())
        .collect();
    ensure!(files.len() > 500, "only {} files", files.len());
    let names: String = files.iter().map(|path| format!(".{path}\n")).collect();
    fs::write(LIST, names)?;
    Ok(files.len())
}

fn tar() -> Result<Duration> {
    let begun = Instant::now();
    let script = format!("tar -C {ROOT} -cf - --no-recursion -T {LIST} | zstd -q -T0 -o /var/tmp/plain.zst");
    let status = Command::new("bash").args(["-o", "pipefail", "-c", &script]).status()?;
    let time = begun.elapsed();
    ensure!(status.success(), "tar | zstd failed");
    fs::remove_file("/var/tmp/plain.zst")?;
    Ok(time)
}
