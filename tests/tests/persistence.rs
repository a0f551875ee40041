//! Every place from which a program starts again is in one table; on a clean Debian nothing in it is suspicious.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::judges::Bag;
use e2e::persistence::{TRICKS, below, plant, row};
use e2e::{debian, story, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const DEBIAN: &str = "/var/tmp/debian";
/// The world's /var holds a whole Debian already.
const SETTINGS: &str = "[paths]\nroot = \"/var/tmp/debian\"\n[captures]\nreserve_bytes = 16777216\n";

/// Takes a triage capture; its folder.
fn capture(agent: &Agent, into: &str) -> Result<Bag> {
    let sealed = agent.capture(&["--pid", "1", "--profile", "triage"])?;
    let bag = Bag::extract(&sealed, Path::new(into))?;
    fs::remove_file(sealed)?;
    Ok(bag)
}

fn table(bag: &Bag, name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(bag.file(name)).with_context(|| format!("no {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn is_suspicious(row: &Value) -> bool {
    row["reasons"].as_array().is_none_or(|reasons| !reasons.is_empty())
}

/// All tricks are told right, each with its reasons; how many.
fn all_are_told(rows: &[Value]) -> Result<usize> {
    let mut wrong = Vec::new();
    for trick in TRICKS {
        match row(rows, trick) {
            Ok(row) if is_suspicious(row) => {}
            Ok(row) => wrong.push(format!("not suspicious: {row:#}")),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), TRICKS.len(), wrong.join("\n"));
    println!("{} of {} tricks told right", TRICKS.len(), TRICKS.len());
    Ok(TRICKS.len())
}

#[test]
fn thirty_ways_back_are_in_the_table() {
    world::inside("thirty_ways_back_are_in_the_table", || {
        plant(Path::new("/"))?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let bag = capture(&agent, "/var/tmp/bag")?;
        let rows = table(&bag, "data/persistence.jsonl")?;
        ensure!(all_are_told(&rows)? >= 30);
        // What is started and is there has its hash; what is suspicious is a finding, and taken.
        let helper = row(&rows, &TRICKS[5])?;
        let sum = Command::new("sha256sum").arg("/var/tmp/dbus-helper").output()?;
        let sum = String::from_utf8(sum.stdout)?;
        let told = helper["target"]["file"]["sha256"].as_str().context("no hash of the target")?;
        ensure!(sum.starts_with(told), "{sum} is not {told}");
        let findings = fs::read_to_string(bag.file("data/hidden/findings.json"))?;
        for path in ["/var/tmp/dbus-helper", "/etc/systemd/system/dbus-helper.service", "/etc/cron.d/update"]
        {
            ensure!(findings.contains(path), "{path} is no finding");
            ensure!(bag.file(&format!("data/files{path}")).exists(), "{path} was not taken");
        }
        agent.stop()
    });
}

#[test]
fn a_clean_debian_has_nothing_suspicious_until_somebody_comes() {
    world::inside("a_clean_debian_has_nothing_suspicious_until_somebody_comes", || {
        let root = Path::new(DEBIAN);
        debian::lay_out(root)?;
        fs::create_dir_all("/etc/afterimage")?;
        fs::write("/etc/afterimage/afterimage.toml", SETTINGS)?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let bag = capture(&agent, "/var/tmp/clean")?;
        let rows = table(&bag, "data/persistence.jsonl")?;
        let odd: Vec<&Value> = rows.iter().filter(|row| is_suspicious(row)).collect();
        ensure!(odd.is_empty(), "{} of {} are called suspicious: {odd:#?}", odd.len(), rows.len());
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for place in rows.iter().filter_map(|row| row["place"].as_str()) {
            *places.entry(place).or_default() += 1;
        }
        println!("clean: {} entries of {} kinds: {places:?}", rows.len(), places.len());
        ensure!(rows.len() >= 450 && places.len() >= 25, "{} entries, {places:?}", rows.len());
        let packages = table(&bag, "data/packages/installed.jsonl")?;
        ensure!(
            packages.len() >= 100 && packages.iter().any(|one| one["name"] == "cron"),
            "{}",
            packages.len()
        );
        let files = table(&bag, "data/packages/files.jsonl")?;
        let cron = files.iter().find(|one| one["path"] == "/usr/sbin/cron").context("no /usr/sbin/cron")?;
        ensure!(cron["package"] == "cron" && cron["content"] == "matches", "{cron:#}");
        ensure!(!files.iter().any(|one| one["content"] == "changed"), "a changed file on a clean Debian");

        fs::remove_dir_all(bag.root())?;
        plant(root)?;
        // A package's program, and a script of another, with a byte more.
        for path in ["/usr/sbin/cron", "/etc/cron.daily/dpkg"] {
            let path = below(root, path);
            let text = [&fs::read(&path)?[..], b"\n"].concat();
            fs::write(&path, text)?;
        }
        let bag = capture(&agent, "/var/tmp/dirty")?;
        let rows = table(&bag, "data/persistence.jsonl")?;
        ensure!(all_are_told(&rows)? >= 30);
        let changed = |path: &str, part: &str| {
            rows.iter().any(|row| row["path"] == path && row["reasons"].to_string().contains(part))
        };
        ensure!(changed("/etc/cron.daily/dpkg", "changed since its package"), "a changed script");
        ensure!(
            changed("/usr/lib/systemd/system/cron.service", "what it starts was changed"),
            "a changed program"
        );
        ensure!(
            changed("/etc/systemd/system-generators/systemd-late", "a generator that no package brought"),
            "a generator of nobody's"
        );
        let ours = |row: &&Value| {
            let path = row["path"].as_str().unwrap_or_default();
            // What links to a unit whose program was changed says so, too.
            let is_changed = row["reasons"].to_string().contains("changed since its package");
            is_changed || path.ends_with("/cron.service") || TRICKS.iter().any(|trick| trick.path == path)
        };
        let others: Vec<&Value> =
            rows.iter().filter(|row| is_suspicious(row)).filter(|row| !ours(row)).collect();
        ensure!(others.is_empty(), "called suspicious, too: {others:#?}");
        agent.stop()
    });
}

#[test]
fn what_runs_is_held_against_its_package() {
    world::inside("what_runs_is_held_against_its_package", || {
        let info = Path::new("/var/lib/dpkg/info");
        fs::create_dir_all(info)?;
        fs::create_dir_all("/srv/tool")?;
        let status = "Package: tool\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n";
        fs::write("/var/lib/dpkg/status", status)?;
        let names = ["good", "changed", "foreign", "replaced"].map(|name| format!("/srv/tool/{name}"));
        for name in &names {
            fs::copy("/usr/bin/sleep", name)?;
        }
        let sums = Command::new("md5sum").args(&names).output()?;
        let sums = String::from_utf8(sums.stdout)?.replace("  /", "  ");
        let (sums, _) = sums.split_once("  srv/tool/foreign").context("no sums")?;
        let sums: Vec<&str> = sums.lines().take(2).collect();
        let wrong = sums.join("\n").replace("srv/tool/changed", "srv/tool/other")
            + "\n"
            + "00000000000000000000000000000000  srv/tool/changed\n";
        fs::write(info.join("tool.md5sums"), wrong)?;
        fs::write(info.join("tool.list"), "/.\n/srv/tool/good\n/srv/tool/changed\n/srv/tool/replaced\n")?;
        let start = |name: &String| Command::new(name).arg("120").spawn();
        let mut children = names.iter().map(start).collect::<std::io::Result<Vec<_>>>()?;
        fs::remove_file("/srv/tool/replaced")?;
        fs::copy("/usr/bin/true", "/srv/tool/replaced")?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let bag = capture(&agent, "/var/tmp/bag")?;
        for child in &mut children {
            child.kill()?;
            child.wait()?;
        }
        let files = table(&bag, "data/packages/files.jsonl")?;
        let of = |name: &str| {
            let path = format!("/srv/tool/{name}");
            files.iter().find(|one| one["path"] == *path).with_context(|| format!("no {path}: {files:#?}"))
        };
        for (name, package, content, other) in [
            ("good", "tool", "matches", 0),
            ("changed", "tool", "changed", 0),
            ("foreign", "", "unknown", 0),
            ("replaced", "tool", "unchanged", 1),
        ] {
            let one = of(name)?;
            let told =
                (one["package"].as_str().unwrap_or_default(), one["content"].as_str().unwrap_or_default());
            ensure!(told == (package, content), "{name}: {one:#}");
            ensure!(one["other_file"] == other && one["used_by"][0] == "running", "{name}: {one:#}");
            let processes = one["processes"].as_array().map_or(0, Vec::len);
            ensure!(processes == usize::from(other == 0), "{name}: {one:#}");
        }
        agent.stop()
    });
}
