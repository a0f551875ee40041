//! The hostile zoo: whoever reads files that others made waits for nobody, follows nobody, takes in no more than it should,
//! and says what became of each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::hostile::Hostile;
use e2e::judges::{self, Bag};
use e2e::world::SERVICE_USER;
use e2e::zoo::{self, Zoo};
use e2e::{proc, story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const CONFIG: &str = "[capture]\ndeadline_s = 60\nfile_bytes = 16777216\n";
const DEFINITION: &str = "name: Zoo\ndoc: x\nsources: [{type: FILE, attributes: {paths: ['/var/tmp/many/99999?', \
                          '/tmp/.zoo/race/**3', '/tmp/.zoo/race/in/*', '/tmp/.zoo/race/over/*']}}]\n";
/// The whole capture, sealed.
const IN_TIME: Duration = Duration::from_secs(60);
/// So many times a name is another one by the end.
const SWAPS: u64 = 100_000;
/// Memory above that of a capture without the zoo.
const MORE: u64 = 96 << 10;
const RACE: &str = "/tmp/.zoo/race";
const CANARY: &str = "/var/lib/vault/canary";

/// One capture, and what it took.
struct Taken {
    bag: Bag,
    manifest: Value,
    took: Duration,
    /// KiB.
    peak: u64,
}

impl Taken {
    fn capture(agent: &Agent, folder: &str) -> Result<Self> {
        let target = Hostile::start(&["quiet"])?;
        let ended = AtomicBool::new(false);
        let begun = Instant::now();
        let (bundle, peak) = thread::scope(|scope| {
            let looking = scope.spawn(|| peak(agent.pid(), &ended));
            let pid = target.pid().to_string();
            let bundle = agent.capture(&["--pid", &pid, "--artifacts", "triage,Zoo"]);
            ended.store(true, Ordering::Relaxed);
            anyhow::Ok((bundle?, looking.join().ok().context("the look-out failed")?))
        })?;
        let took = begun.elapsed();
        let bag = Bag::extract(&bundle, Path::new(folder))?;
        fs::remove_file(bundle)?;
        let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        ensure!(manifest["complete"] == true, "it is incomplete: {}", manifest["incomplete"]);
        println!("captured in {took:?}, with at most {} MiB", peak >> 10);
        Ok(Self { bag, manifest, took, peak })
    }

    /// Outcome and detail of the first attempt at each subject.
    fn outcomes(&self) -> BTreeMap<&str, (&str, &str)> {
        let mut all = BTreeMap::new();
        for one in self.manifest["attempts"].as_array().into_iter().flatten() {
            let word = |name: &str| one[name].as_str().unwrap_or_default();
            all.entry(word("subject")).or_insert((word("outcome"), word("detail")));
        }
        all
    }
}

/// The most memory that the collector had, in KiB.
fn peak(recorder: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let helpers = proc::children(recorder).unwrap_or_default();
        for one in helpers.iter().filter(|one| one.args.iter().any(|word| word == "collect")) {
            let status = fs::read_to_string(format!("/proc/{}/status", one.pid)).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(kib.unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(5));
    }
    peak
}

#[test]
fn hostile_files_hold_nobody_and_lead_nowhere_and_each_is_told() {
    world::inside("hostile_files_hold_nobody_and_lead_nowhere_and_each_is_told", || {
        fs::create_dir_all("/etc/afterimage/artifacts")?;
        fs::write("/etc/afterimage/afterimage.toml", CONFIG)?;
        fs::write("/etc/afterimage/artifacts/zoo.yaml", DEFINITION)?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let before = Taken::capture(&agent, "/var/tmp/before")?;
        fs::remove_dir_all("/var/tmp/before")?;

        plant()?;
        let begun = Instant::now();
        let mut zoo = Zoo::make()?;
        zoo::many()?;
        zoo::race_track(Path::new(RACE), Path::new(CANARY))?;
        for name in ["", "/file", "/spare", "/in", "/in/canary"] {
            chown(format!("{RACE}{name}"), Some(SERVICE_USER), Some(SERVICE_USER))?;
        }
        println!("the zoo was made in {:?}", begun.elapsed());
        let mut race = Race::start()?;
        let taken = Taken::capture(&agent, "/var/tmp/bag")?;
        let swaps = race.end()?;
        println!("{swaps} swaps");
        ensure!(swaps >= SWAPS, "only {swaps} swaps in the time");
        ensure!(taken.took < IN_TIME, "it took {:?}", taken.took);
        ensure!(before.peak > 0 && taken.peak > 0, "nobody saw the collector");
        ensure!(
            taken.peak < before.peak + MORE,
            "the collector had {} KiB, and {} KiB without the zoo",
            taken.peak,
            before.peak
        );
        let text = fs::read_to_string(CANARY)?;
        ensure!(holds(Path::new(CANARY).parent().context("no folder")?, &text)?, "it would not be found");
        ensure!(holds(taken.bag.root(), "harmless")?, "nothing of the race is in the bundle");
        ensure!(!holds(taken.bag.root(), &text)?, "the canary is in the bundle");
        is_told(&taken, &zoo)?;
        is_listed(&taken, &zoo.deep)?;
        match zoo.trapped()? {
            Some(asked) => ensure!(!asked, "somebody went into the automount point"),
            None => println!("this kernel has no autofs: there was no such trap"),
        }
        agent.stop()
    });
}

/// Names that do not stay what they are, changed by a user without rights.
struct Race {
    child: std::process::Child,
}

impl Race {
    fn start() -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = Command::new(format!("{}/hostile", world::BIN))
            .args(["races", RACE])
            .uid(SERVICE_USER)
            .gid(SERVICE_USER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { child })
    }

    fn end(&mut self) -> Result<u64> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.child.stdout.take().context("no stdout")?.read_to_string(&mut said)?;
        self.child.wait()?;
        let last: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        last["swaps"].as_u64().with_context(|| format!("it said {said}"))
    }
}

/// A secret of root's, which nobody else may read and no collection asks for. This process, whose memory may be looked at,
/// does not know it.
fn plant() -> Result<()> {
    let folder = Path::new(CANARY).parent().context("no folder")?;
    fs::create_dir_all(folder)?;
    let script = format!("od -An -tx1 -N32 /dev/urandom | tr -d ' \\n' > {CANARY}");
    ensure!(Command::new("sh").args(["-c", &script]).status()?.success(), "no canary");
    fs::set_permissions(CANARY, fs::Permissions::from_mode(0o600))?;
    ensure!(fs::metadata(CANARY)?.len() == 64, "an odd canary");
    Ok(())
}

/// Whether any file below holds this text.
fn holds(folder: &Path, text: &str) -> Result<bool> {
    let status =
        Command::new("grep").args(["-raqF", "-e", text]).arg(folder).stdin(Stdio::null()).status()?;
    ensure!(matches!(status.code(), Some(0 | 1)), "grep: {status}");
    Ok(status.success())
}

/// Each has its outcome.
fn is_told(taken: &Taken, zoo: &Zoo) -> Result<()> {
    let outcomes = taken.outcomes();
    let of = |path: &str| outcomes.get(path).copied().with_context(|| format!("nothing is said of {path}"));
    let expect = |path: &str, outcome: &str, words: &str| -> Result<()> {
        let (found, detail) = of(path)?;
        ensure!(found == outcome && detail.contains(words), "{path}: {found}, {detail}");
        Ok(())
    };
    let at = |name: &str| format!("{}/{name}", zoo::ZOO);
    for name in ["fifo", "socket", "null", "disk"] {
        expect(&at(name), "refused", "not a regular file")?;
    }
    for number in 0..zoo::LEASES {
        expect(&at(&format!("leased/{number}")), "timed_out", "")?;
    }
    expect(&at("sparse"), "ok", "")?;
    let kept = fs::read(taken.bag.file("data/files/tmp/.zoo/sparse.data"))?;
    ensure!(kept.starts_with(zoo::DATA) && kept.len() < 1 << 20, "{} bytes of the sparse file", kept.len());
    reaches(taken, &zoo.deep)?;
    for name in ["growing", "shrinking"] {
        let (outcome, detail) = of(&at(name))?;
        println!("{name}: {outcome}, {detail}");
        ensure!(["ok", "partial"].contains(&outcome), "{name}: {outcome}, {detail}");
    }
    let (_, detail) = of("findings")?;
    for (path, words) in [(zoo::DEAD, "may never answer"), (zoo::TRAP, "may never answer")] {
        ensure!(detail.contains(&format!("{path}: ")) && detail.contains(words), "{path} in {detail}");
    }
    let matched = outcomes.keys().filter(|path| path.starts_with("/var/tmp/many/99999")).count();
    ensure!(matched == 10, "{matched} of 10 among very many");
    let mut race: Vec<_> = outcomes.iter().filter(|(path, _)| path.starts_with(RACE)).collect();
    race.truncate(12);
    println!("of the race: {race:?}");
    Ok(())
}

/// A file whose path is longer than a path may be is there, under a name that was cut, as its subject was.
fn reaches(taken: &Taken, deep: &str) -> Result<()> {
    let list = taken.manifest["attempts"].as_array().into_iter().flatten();
    let mut those = list.filter(|one| {
        let subject = one["subject"].as_str().and_then(|subject| subject.strip_suffix(" ..."));
        subject.is_some_and(|subject| deep.starts_with(subject))
    });
    let found = those.next().context("nothing is said of the deepest file")?;
    ensure!(found["outcome"] == "ok" && those.next().is_none(), "{found}");
    let name = found["artifact"].as_str().context("it has no name")?;
    ensure!(fs::read(taken.bag.file(name))? == b"the end", "{name} is another one");
    Ok(())
}

/// The body file has a line for each, and its readers read it.
fn is_listed(taken: &Taken, deep: &str) -> Result<()> {
    let body = taken.bag.file("data/bodyfile/bodyfile.txt");
    let text = fs::read_to_string(&body)?;
    let many = text.lines().filter(|line| line.starts_with("0|/var/tmp/many/")).count();
    println!("{} lines of the body file, {many} of the very many", text.lines().count());
    ensure!(
        text.lines().any(|line| line.starts_with(&format!("0|{deep}|"))),
        "the deepest file is not listed"
    );
    let said = taken.outcomes().get("body file").copied().context("nothing is said of the body file")?;
    println!("body file: {said:?}");
    ensure!(many == zoo::ENTRIES || said.1.contains("stopped here"), "{many}, and {said:?}");
    Ok(())
}

#[test]
fn mactime_and_plaso_read_the_body_file() {
    world::inside("mactime_and_plaso_read_the_body_file", || {
        let names = ["plain", "with space", "a|b", "a%7Cb", "new\nline", "back\\slash", "100%", "\u{dc}bung"];
        fs::create_dir_all("/srv/names")?;
        for name in names {
            File::create(Path::new("/srv/names").join(name))?;
        }
        std::os::unix::fs::symlink("plain", "/srv/names/link")?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let bundle = agent.capture(&["--pid", "1"])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/bag"))?;
        let body = bag.file("data/bodyfile/bodyfile.txt");
        let lines = fs::read_to_string(&body)?.lines().count();
        let changes = BufReader::new(File::open(bag.file("data/changes.jsonl"))?);
        let changes: Vec<Value> =
            serde_json::Deserializer::from_reader(changes).into_iter().collect::<Result<_, _>>()?;
        ensure!(changes.iter().any(|one| one["path"] == "/srv/names/plain"), "{} changes", changes.len());

        let said = judges::mactime(&body)?;
        for name in
            ["plain", "with space", "a|b", "a%7Cb", "new\\x0aline", "back\\\\slash", "100%", "\u{dc}bung"]
        {
            let path = format!("/srv/names/{name}");
            ensure!(said.lines().any(|line| line.contains(&path)), "mactime does not tell {path}");
        }
        let said: Value = serde_json::from_str(&judges::plaso_body(&body)?)?;
        ensure!(said["warnings"] == serde_json::json!([]), "plaso warns: {}", said["warnings"]);
        let files = said["files"].as_array().context("no files")?;
        ensure!(files.len() == lines, "plaso read {} of {lines} lines", files.len());
        // A vertical bar is written for mactime, which cannot have it otherwise.
        for name in ["plain", "with space", "a%7Cb", "new\nline", "back\\slash", "100%", "\u{dc}bung", "link"]
        {
            let path = format!("/srv/names/{name}");
            ensure!(files.iter().any(|file| file[0] == path.as_str()), "plaso does not tell {path}");
        }
        println!("{lines} lines, {} changes", changes.len());
        agent.stop()
    });
}
