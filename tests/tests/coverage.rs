//! What UAC takes of a host is in a bundle, where docs/coverage.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::coverage::{FACTS, Line, PAGE, facts, means, table};
use e2e::{debian, story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const SETTINGS: &str = "[paths]\nroot = \"/var/tmp/debian\"\n[captures]\nreserve_bytes = 16777216\n";

#[test]
fn each_of_uacs_facts_has_a_place_or_a_reason() -> Result<()> {
    let mut known: BTreeMap<(&str, &str), usize> = facts(FACTS)?.into_iter().map(|fact| (fact, 0)).collect();
    ensure!(known.len() == 424, "{} facts", known.len());
    for line in table(PAGE)? {
        for fact in &line.facts {
            let count = known.get_mut(&(line.artifact, fact));
            *count.with_context(|| format!("UAC does not take {} {fact}", line.artifact))? += 1;
        }
    }
    let wrong: Vec<_> = known.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(wrong.is_empty(), "not once on the page: {wrong:#?}");
    Ok(())
}

#[test]
fn what_uac_would_take_of_a_debian_is_in_a_triage_capture() {
    world::inside("what_uac_would_take_of_a_debian_is_in_a_triage_capture", || {
        let root = Path::new("/var/tmp/debian");
        debian::lay_out(root)?;
        fs::create_dir_all(root.join("home/x"))?;
        let passwd = root.join("etc/passwd");
        fs::write(&passwd, fs::read_to_string(&passwd)? + "x:x:1001:1001::/home/x:/bin/sh\n")?;
        let lines = table(PAGE)?;
        let planted = plant(root, &lines)?;
        let files = files(root)?;
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", SETTINGS)?;
        fs::copy("/usr/bin/sleep", "/tmp/worker")?;
        let mut worker = Command::new("/tmp/worker").arg("120").spawn()?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let bundle = agent.capture(&["--pid", &worker.id().to_string(), "--profile", "triage"])?;
        worker.kill()?;
        worker.wait()?;
        agent.stop()?;
        let taken = Taken::of(&bundle)?;
        let mut wrong = Vec::new();
        let (mut there, mut refused, mut left_out) = (0, 0, 0);
        for line in &lines {
            let mut all_refused = !line.members.is_empty();
            for member in &line.members {
                match taken.has(member, &files) {
                    Ok(Fate::Refused) => {}
                    Ok(Fate::There) => all_refused = false,
                    Err(error) => wrong.push(format!("{} {:?}: {error:#}", line.artifact, line.facts)),
                }
            }
            let count = if line.members.is_empty() {
                &mut left_out
            } else if all_refused {
                &mut refused
            } else {
                &mut there
            };
            *count += line.facts.len();
        }
        ensure!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
        println!(
            "{there} facts are there ({planted} files were planted for what a bare Debian has not), {refused} are the \
             machine's and refused in a world, {left_out} are left out"
        );
        ensure!(there >= 340, "only {there}");
        Ok(())
    });
}

/// A file for each place that a bare Debian does not have; how many.
fn plant(root: &Path, lines: &[Line<'_>]) -> Result<usize> {
    let bare = files(root)?;
    let mut planted = 0;
    for path in lines.iter().flat_map(|line| &line.members).filter_map(|member| of_a_file(member)) {
        if bare.iter().any(|file| means(path, file)) {
            continue;
        }
        let path = root.join(
            path.trim_start_matches('/').replace("**", "x").replace("home/*", "home/x").replace('*', "x"),
        );
        fs::create_dir_all(path.parent().context("no parent")?)?;
        if !path.exists() {
            fs::write(&path, path.to_string_lossy().as_bytes())
                .with_context(|| format!("plant {}", path.display()))?;
            planted += 1;
        }
    }
    Ok(planted)
}

/// The path on the host of a member that is a file's copy.
fn of_a_file(member: &str) -> Option<&str> {
    let rest = member.strip_prefix("data/files/").or_else(|| member.strip_prefix("data/log/"))?;
    let length = rest.len() + 1;
    member.get(member.len() - length..)
}

/// All regular files below `root`, from there on.
fn files(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("find").arg(root).args(["-type", "f", "-printf", "/%P\\0"]).output()?;
    ensure!(output.status.success(), "find failed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

enum Fate {
    There,
    Refused,
}

/// What a bundle has.
struct Taken {
    members: BTreeSet<String>,
    /// The members, and the paths of the host that are in the bundle.
    copied: BTreeSet<String>,
    /// Subjects of what was refused as the whole machine's, or because this kernel does not have it.
    refused: BTreeSet<String>,
}

impl Taken {
    fn of(bundle: &Path) -> Result<Self> {
        let list = Command::new("tar").arg("--zstd").arg("-tf").arg(bundle).output()?;
        ensure!(list.status.success(), "tar: {}", String::from_utf8_lossy(&list.stderr));
        let list = String::from_utf8(list.stdout)?;
        let members: BTreeSet<String> =
            list.lines().filter_map(|line| Some(line.split_once('/')?.1.to_owned())).collect();
        let manifest = list.lines().find(|line| line.ends_with("/capture.json")).context("no manifest")?;
        let text = Command::new("tar").arg("--zstd").arg("-xOf").arg(bundle).arg(manifest).output()?;
        let manifest: Value = serde_json::from_slice(&text.stdout)?;
        let (mut copied, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for attempt in manifest["attempts"].as_array().context("no attempts")? {
            let subject = attempt["subject"].as_str().context("no subject")?;
            if let Some(artifact) = attempt["artifact"].as_str() {
                ensure!(members.contains(artifact), "{artifact} is not in the bundle");
                copied.insert(subject.to_owned());
            }
            let words = attempt["detail"].as_str().unwrap_or_default();
            let is_said = ["PID namespace of its own", "does not have it", "nf_tables"]
                .iter()
                .any(|part| words.contains(part));
            if attempt["outcome"] == "refused" && is_said {
                refused.insert(subject.to_owned());
            }
        }
        Ok(Self { members, copied, refused })
    }

    /// Whether all that `member` means is there: each of the host's files, or one member at least.
    fn has(&self, member: &str, files: &[String]) -> Result<Fate> {
        if let Some(path) = of_a_file(member) {
            let meant: Vec<&String> = files.iter().filter(|file| means(path, file)).collect();
            let missing: Vec<_> =
                meant.iter().filter(|file| !self.copied.contains(&file.replace('\\', "\\\\"))).collect();
            let planted = path.replace("**", "x").replace("home/*", "home/x").replace('*', "x");
            // Through a link of the root's own, it is known by the path without the link.
            let real = Path::new("/var/tmp/debian").join(planted.trim_start_matches('/')).canonicalize();
            let real =
                real.map(|path| path.to_string_lossy().replace("/var/tmp/debian", "")).unwrap_or_default();
            ensure!(
                !meant.is_empty() || self.copied.contains(&real),
                "{path}: nothing was there to be taken"
            );
            ensure!(missing.is_empty(), "not taken of {} files: {missing:?}", meant.len());
            return Ok(Fate::There);
        }
        if self.members.iter().any(|one| means(member, one)) {
            return Ok(Fate::There);
        }
        let last = member.rsplit('/').next().unwrap_or_default();
        let stem = last.trim_end_matches(".json");
        let is_refused = |subject: &String| {
            subject == last
                || (subject == "log" && last == "kmsg")
                || subject.rsplit(' ').next() == Some(stem)
        };
        ensure!(self.refused.iter().any(is_refused), "no {member}, and nothing says why");
        Ok(Fate::Refused)
    }
}
