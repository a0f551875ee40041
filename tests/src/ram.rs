//! Images of a virtual machine's whole RAM: through /proc/kcore, through the probe with /proc/kcore denied, and refused when
//! the kernel is locked down. The bundles leave the machine on a disk; who judges them is outside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::Value;

use crate::agent::{ask, succeed};
use crate::{churn, wait};

/// The modules of a disk, in the order in which they are needed; not every kernel has each.
const MODULES: &str = "/modules";
const DISK: &str = "/dev/vda";
/// Where it is mounted.
const FOLDER: &str = "/var/bundles";
const CONFIG: &str = "/etc/afterimage/afterimage.toml";
const SECURITY: &str = "/sys/kernel/security";
/// How often a capture's progress is told.
const BEAT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes them, saying so step by step.
pub fn run(agent: &Path) -> Result<()> {
    mount(Some("securityfs"), SECURITY, Some("securityfs"), MsFlags::empty(), None::<&str>)?;
    disk()?;
    nothing_hides(agent).context("what hides")?;
    println!("init: banner: {}", fs::read_to_string("/proc/version")?.trim_end());

    // AVML's first: volatility3 does not read blocks that do not compress, which bundles leave in memory.
    let bundle = capture(agent, "avml")?;
    let attempts = attempts(agent, &bundle)?;
    expect(&attempts, "whole memory (kcore)", "ok", "")?;
    symbols(&attempts)?;
    fs::rename(bundle, Path::new(FOLDER).join("kcore.tar.zst"))?;
    println!("init: through kcore: ok");

    deny_kcore()?;
    let bundle = capture(agent, "lime")?;
    let attempts = self::attempts(agent, &bundle)?;
    expect(&attempts, "whole memory (kcore)", "refused", "Permission denied")?;
    expect(&attempts, "whole memory (probe)", "ok", "")?;
    symbols(&attempts)?;
    fs::rename(bundle, Path::new(FOLDER).join("probe.tar.zst"))?;
    println!("init: through the probe: ok");

    umount("/proc/kcore")?;
    fs::write(Path::new(SECURITY).join("lockdown"), "confidentiality")?;
    let bundle = capture(agent, "lime")?;
    let attempts = self::attempts(agent, &bundle)?;
    expect(&attempts, "whole memory (kcore)", "refused", "not permitted")?;
    expect(&attempts, "whole memory (probe)", "refused", "locked down to confidentiality")?;
    println!("init: locked down: ok");
    umount(FOLDER)?;
    Ok(())
}

/// With modules and a disk, from which files have just been removed: no false alarm.
fn nothing_hides(agent: &Path) -> Result<()> {
    let home = Path::new(FOLDER).join("home");
    fs::create_dir(&home)?;
    fs::create_dir_all("/root")?;
    mount(Some(&home), "/root", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    for number in 0..200 {
        let path = Path::new("/root").join(format!("file-{number}"));
        fs::write(&path, "x")?;
        if number % 2 == 0 {
            fs::remove_file(&path)?;
        }
    }
    let arguments = ["capture", "--host", "--profile", "triage", "--output", "/tmp", "--json"];
    let answer: Value = serde_json::from_slice(&succeed(agent, &arguments)?)?;
    let file = answer["file"].as_str().context("no file")?;
    let into = "/tmp/extracted";
    fs::create_dir(into)?;
    let extract = ["bundle", "extract", file, "--artifact", "hidden/*", "--output", into, "--force"];
    succeed(agent, &extract)?;
    let folder = fs::read_dir(into)?.next().context("nothing was extracted")??.path();
    let found = churn::findings(&folder, true)?;
    ensure!(found.is_empty(), "{found:#?}");
    let compared = |kind: &str| -> Result<Value> {
        let text = fs::read(folder.join(format!("data/hidden/{kind}.json")))?;
        Ok(serde_json::from_slice::<Value>(&text)?["compared"].clone())
    };
    let (modules, entries) = (compared("modules")?, compared("entries")?);
    for source in ["/proc/modules", "/sys/module", "/proc/kallsyms"] {
        ensure!(modules[source].as_u64() > Some(3), "{source}: {modules}");
    }
    ensure!(entries["directories on the disk"].as_u64() == Some(1), "{entries}");
    println!("init: nothing hides among {modules} and {entries}: ok");
    umount("/root")?;
    fs::remove_dir_all(&home)?;
    fs::remove_dir_all(into)?;
    fs::remove_file(file)?;
    Ok(())
}

/// Puts the modules in, waits for the disk and mounts it.
fn disk() -> Result<()> {
    let mut modules: Vec<PathBuf> =
        fs::read_dir(MODULES)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    modules.sort();
    for module in modules {
        finit_module(File::open(&module)?, c"", ModuleInitFlags::empty())
            .with_context(|| format!("insert {}", module.display()))?;
    }
    wait::until(DISK, PATIENCE, || Ok(Path::new(DISK).exists().then_some(())))?;
    fs::create_dir(FOLDER)?;
    mount(Some(DISK), FOLDER, Some("ext4"), MsFlags::empty(), None::<&str>).context("mount the disk")
}

/// As a container has it: a node that cannot be opened, over /proc/kcore.
fn deny_kcore() -> Result<()> {
    let folder = "/tmp/denied";
    fs::create_dir(folder)?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::MS_NODEV, None::<&str>)?;
    let node = Path::new(folder).join("kcore");
    mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3))?;
    mount(Some(&node), "/proc/kcore", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let failure = File::open("/proc/kcore").err().context("/proc/kcore is not denied")?;
    ensure!(failure.kind() == io::ErrorKind::PermissionDenied, "{failure}");
    Ok(())
}

/// A capture of the whole machine, without a recorder; the bundle's path.
fn capture(agent: &Path, format: &str) -> Result<PathBuf> {
    fs::write(CONFIG, format!("[capture]\nram = \"{format}\"\n[captures]\nreserve_bytes = 1048576\n"))?;
    let arguments = ["capture", "--host", "--profile", "full", "--output", FOLDER, "--json"];
    let answer = thread::scope(|scope| {
        let capture = scope.spawn(|| succeed(agent, &arguments));
        let begun = Instant::now();
        // A console that is silent for long is taken for a machine that hangs.
        while !capture.is_finished() {
            thread::sleep(BEAT);
            println!("init: {} bytes after {:?}", written()?, begun.elapsed());
        }
        capture.join().map_err(|_| anyhow!("the thread that captures panicked"))?
    })?;
    let answer: Value = serde_json::from_slice(&answer)?;
    println!("init: {} bytes, {}", answer["bytes"], answer["outcomes"]);
    ensure!(answer["complete"] == true, "{answer}");
    Ok(PathBuf::from(answer["file"].as_str().context("no file")?))
}

/// Bytes of the bundle in the making.
fn written() -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(FOLDER)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|kind| kind == "partial") {
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

/// What the bundle says of each attempt on the memory, and shows.
fn attempts(agent: &Path, bundle: &Path) -> Result<Vec<Value>> {
    let path = bundle.to_str().context("an odd path")?;
    let output = ask(agent, &["bundle", "show", path, "--json"])?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    let all = shown["capture"]["attempts"].as_array().context("no attempts")?;
    let ram: Vec<Value> = all.iter().filter(|attempt| attempt["collection"] == "ram").cloned().collect();
    for attempt in &ram {
        let said =
            ["subject", "outcome", "detail", "bytes", "took_us"].map(|field| attempt[field].to_string());
        println!("init: attempt {}", said.join(" "));
    }
    Ok(ram)
}

fn expect(attempts: &[Value], subject: &str, outcome: &str, words: &str) -> Result<()> {
    let attempt = attempts.iter().find(|attempt| attempt["subject"] == subject);
    let attempt = attempt.with_context(|| format!("no attempt `{subject}`"))?;
    ensure!(attempt["outcome"] == outcome, "not {outcome}: {attempt}");
    ensure!(attempt["detail"].as_str().unwrap_or_default().contains(words), "not `{words}`: {attempt}");
    Ok(())
}

/// All that belongs to the kit was had.
fn symbols(attempts: &[Value]) -> Result<()> {
    for subject in ["types", "configuration", "vmcoreinfo", "banner", "place of the kernel"] {
        expect(attempts, &format!("symbols: {subject}"), "ok", "")?;
    }
    Ok(())
}
