//! What is kept of executables, scripts and shared objects, and what is left out on purpose.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::digest::sha256;
use e2e::storm::{self, STASH};
use e2e::{story, wait, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const CONFIG: &str = "/etc/afterimage/afterimage.toml";
const PATIENCE: Duration = Duration::from_secs(20);
/// www-data's number.
const SERVICE: u32 = 33;

#[test]
fn what_a_package_brought_is_left_out_unless_a_service_runs_it() {
    world::inside("what_a_package_brought_is_left_out_unless_a_service_runs_it", || {
        fs::create_dir_all("/var/lib/dpkg/info")?;
        // As dpkg names them where /usr was merged later, and where it was not.
        fs::write("/var/lib/dpkg/info/coreutils.list", "/.\n/bin\n/bin/uname\n/usr/bin/id\n/usr/bin/env\n")?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let mine = run(&mut Command::new("/bin/uname"))?;
        let services = run(Command::new("/usr/bin/id").uid(SERVICE).gid(SERVICE))?;
        let unlisted = run(&mut Command::new("/usr/bin/nproc"))?;
        // The same file again, now by a service, after it was left out.
        let first = run(&mut Command::new("/usr/bin/env"))?;
        await_event(&agent, |event| of(event, "skip", first))?;
        let second = run(Command::new("/usr/bin/env").uid(SERVICE).gid(SERVICE))?;

        let skipped = await_event(&agent, |event| of(event, "skip", mine))?;
        ensure!(skipped["process.executable"] == "/usr/bin/uname", "{skipped}");
        ensure!(skipped["event.reason"].as_str().is_some_and(|text| text.contains("package")), "{skipped}");
        for (pid, path) in [(services, "/usr/bin/id"), (unlisted, "/usr/bin/nproc"), (second, "/usr/bin/env")]
        {
            let kept = await_event(&agent, |event| of(event, "stash", pid))?;
            is_kept(&kept, path, &sha256(path)?)?;
        }
        let events = agent.history()?;
        ensure!(!events.iter().any(|event| of(event, "stash", mine)), "it was kept and left out");
        ensure!(agent.status()?["counts"]["recorder"]["stash_skipped"].as_u64() >= Some(2));
        agent.stop()
    });
}

#[test]
fn scripts_are_kept_however_they_are_started() {
    world::inside("scripts_are_kept_however_they_are_started", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let script = |path: &str, text: &str| -> Result<String> {
            fs::write(path, text)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
            sha256(path)
        };
        let given = script("/srv/given.sh", "exit 0\n")?;
        let near = script("/srv/near.py", "import time\ntime.sleep(0.5)\n")?;
        let itself = script("/srv/itself.sh", "#!/bin/sh\nrm -- \"$0\"\nexit 0\n")?;
        let again = script("/srv/again.sh", "#!/bin/sh\nrm -- \"$0\"\nexit 0 # again\n")?;
        let started = [
            (run(Command::new("sh").arg("/srv/given.sh"))?, "/srv/given.sh", given),
            (run(Command::new("python3").arg("near.py").current_dir("/srv"))?, "/srv/near.py", near),
            (run(&mut Command::new("/srv/itself.sh"))?, "/srv/itself.sh", itself),
            // By now the interpreter is known.
            (run(Command::new("./again.sh").current_dir("/srv"))?, "/srv/again.sh", again),
        ];
        for (pid, path, sha256) in started {
            let kept =
                await_event(&agent, |event| of(event, "stash", pid) && event["process.executable"] == path)
                    .with_context(|| path.to_owned())?;
            is_kept(&kept, path, &sha256)?;
        }
        agent.stop()
    });
}

#[test]
fn a_shared_object_from_a_temporary_place_is_kept() {
    world::inside("a_shared_object_from_a_temporary_place_is_kept", || {
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let library = "/tmp/odd.so";
        fs::copy("/usr/lib/x86_64-linux-gnu/libm.so.6", library)?;
        let mut child = Command::new("/usr/bin/sleep").arg("20").env("LD_PRELOAD", library).spawn()?;
        let pid = child.id();
        let kept =
            await_event(&agent, |event| of(event, "stash", pid) && event["process.executable"] == library);
        child.kill()?;
        child.wait()?;
        is_kept(&kept?, library, &sha256(library)?)?;
        agent.stop()
    });
}

#[test]
fn a_full_stash_stays_within_its_bound_and_keeps_the_newest() {
    world::inside("a_full_stash_stays_within_its_bound_and_keeps_the_newest", || {
        const BYTES: u64 = 100_000;
        fs::create_dir_all("/etc/afterimage")?;
        fs::write(CONFIG, format!("[stash]\nbytes = {BYTES}\nfile_bytes = 50000\n"))?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let all = storm::write(Path::new("/tmp/tiny"), 2_000)?;
        storm::run(&all)?;
        agent.stop()?;
        let sizes = fs::read_dir(STASH)?.flatten().map(|entry| Ok(entry.metadata()?.len()));
        let bytes: u64 = sizes.sum::<Result<_>>()?;
        ensure!(bytes <= BYTES && bytes > BYTES / 2, "{bytes} bytes in the stash");
        let newest = all.last().context("none")?;
        ensure!(Path::new(STASH).join(format!("{}.zst", newest.sha256)).exists(), "the newest went");
        Ok(())
    });
}

/// Runs it to its end; its pid.
fn run(command: &mut Command) -> Result<u32> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let pid = child.id();
    ensure!(child.wait()?.success(), "{command:?} failed");
    Ok(pid)
}

fn of(event: &Value, action: &str, pid: u32) -> bool {
    event["event.action"] == action && event["process.pid"] == pid
}

fn await_event(agent: &Agent, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let found =
        wait::until("an event", PATIENCE, || Ok(agent.history()?.into_iter().find(|one| wanted(one))));
    found.with_context(|| {
        let events = agent.history().unwrap_or_default();
        let lost: Vec<_> = events.into_iter().filter(|event| event["event.action"] == "loss").collect();
        format!("{lost:?}\n{}", agent.log())
    })
}

/// Fails unless the event names this content, and it is in the stash.
fn is_kept(event: &Value, path: &str, sha256: &str) -> Result<()> {
    ensure!(event["process.executable"] == path && event["process.hash.sha256"] == sha256, "{event}");
    let copy = Path::new(STASH).join(format!("{sha256}.zst"));
    ensure!(copy.exists(), "{} is not there", copy.display());
    Ok(())
}
