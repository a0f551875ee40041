//! No executable is lost to a process that is faster than we are, and no program waits for the agent.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::agent::{self, Agent};
use e2e::events::nothing_was_lost;
use e2e::proc::{children, is_gone};
use e2e::storm::{self, Found, STASH};
use e2e::tiny::{self, Tiny};
use e2e::{story, wait, world};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const CONFIG: &str = "/etc/afterimage/afterimage.toml";
const TINY: &str = "/tmp/tiny";
const PATIENCE: Duration = Duration::from_secs(20);
/// The gate is ended after four questions without an answer, a quarter of a second each; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(3);
/// What nobody waits for takes no longer than this, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn ten_thousand_that_unlink_themselves_are_in_the_stash() {
    world::inside("ten_thousand_that_unlink_themselves_are_in_the_stash", || {
        let (_, alone) = storm::run(&storm::write(Path::new("/tmp/alone"), 10_000)?)?;
        let all = storm::write(Path::new(TINY), 10_000)?;
        let agent = watching()?;
        let (lives, took) = storm::run(&all)?;
        println!("{} lives in {took:?}, without an agent in {alone:?}", lives.len());
        agent.stop()?;
        let events = agent::history(&story::program())?;
        nothing_was_lost(&events)?;
        let found = Found::of(&events, &all)?;
        found.compare(&all, &lives)?;
        let kept = found.kept(&all);
        println!("with the gate: {kept} of {} executables in the stash; {}", all.len(), found.durations());
        println!("of these {} were told with the exec", found.told_with_exec());
        ensure!(kept == all.len(), "{:?}", of_kind(&events, &["gap", "loss"]));
        storm::in_the_stash(&all)
    });
}

#[test]
fn without_the_gate_the_race_is_lost_and_what_was_missed_is_counted() {
    world::inside("without_the_gate_the_race_is_lost_and_what_was_missed_is_counted", || {
        fs::create_dir_all("/etc/afterimage")?;
        fs::write(CONFIG, "[gate]\nenabled = false\n")?;
        let all = storm::write(Path::new(TINY), 1_000)?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        ensure!(agent.status()?["gate"]["in_force"] == false, "there is a gate");
        let (lives, _) = storm::run(&all)?;
        agent.stop()?;
        let events = agent::history(&story::program())?;
        nothing_was_lost(&events)?;
        let found = Found::of(&events, &all)?;
        found.compare(&all, &lives)?;
        let kept = found.kept(&all);
        println!("without the gate: {kept} of {} executables in the stash", all.len());
        let missed: u64 = events
            .iter()
            .filter(|event| event["afterimage.loss.place"] == "stash")
            .filter_map(|event| event["afterimage.loss.count"].as_u64())
            .sum();
        ensure!(missed >= u64::try_from(all.len() - kept)?, "{kept} kept, and only {missed} missed");
        Ok(())
    });
}

#[test]
fn a_gate_that_does_not_answer_is_replaced_and_programs_go_on() {
    world::inside("a_gate_that_does_not_answer_is_replaced_and_programs_go_on", || {
        let agent = watching()?;
        let all = storm::write(Path::new(TINY), 6)?;
        let [stopped, killed, after] = [&all[..2], &all[2..4], &all[4..]];

        let first = gate(&agent)?;
        send(first, Signal::SIGSTOP)?;
        let (_, took) = storm::run(stopped)?;
        println!("with the gate stopped, programs waited {took:?}");
        ensure!(took > Duration::from_millis(500), "nobody waited: the gate is not asked ({took:?})");
        ensure!(took < LONGEST, "programs waited {took:?}");
        let second = another_gate(&agent, first)?;

        send(second, Signal::SIGSTOP)?;
        let took = thread::scope(|scope| {
            let waiting = scope.spawn(|| storm::run(killed));
            let pid = std::process::id();
            wait::until("a program to wait", PATIENCE, || Ok(is_starting(pid)?.then_some(())))?;
            ensure!(!waiting.is_finished(), "nobody waited");
            let killed_at = Instant::now();
            send(second, Signal::SIGKILL)?;
            waiting.join().map_err(|_| anyhow!("a thread panicked"))??;
            anyhow::Ok(killed_at.elapsed())
        })?;
        println!("after the gate was killed, programs waited {took:?}");
        ensure!(took < AT_ONCE, "programs waited {took:?}");
        another_gate(&agent, second)?;

        storm::run(after)?;
        agent.stop()?;
        let events = agent::history(&story::program())?;
        let found = Found::of(&events, &all)?;
        ensure!(found.kept(after) == after.len(), "the new gate hands nothing over");
        for words in ["did not answer", "the gate ended", "there was no gate"] {
            let gaps = of_kind(&events, &["gap"]);
            let said =
                gaps.iter().any(|gap| gap["message"].as_str().is_some_and(|text| text.contains(words)));
            ensure!(said, "no gap says `{words}`: {gaps:?}");
        }
        Ok(())
    });
}

#[test]
fn with_the_recorder_stopped_or_killed_programs_go_on() {
    world::inside("with_the_recorder_stopped_or_killed_programs_go_on", || {
        let agent = watching()?;
        let all = storm::write(Path::new(TINY), 1_001)?;
        let (many, last) = all.split_at(1_000);

        send(agent.pid(), Signal::SIGSTOP)?;
        let (lives, took) = storm::run(many)?;
        send(agent.pid(), Signal::SIGCONT)?;
        println!("with the recorder stopped, {} programs took {took:?}", many.len());
        ensure!(took < LONGEST, "programs waited {took:?}");
        let gate = gate(&agent)?;
        let events = wait::until("their executables in the history", PATIENCE, || {
            let events = agent.history()?;
            let found = Found::of(&events, many)?;
            let all_there = found.kept(many) == many.len();
            Ok(all_there.then_some(events))
        })?;
        Found::of(&events, many)?.compare(many, &lives)?;
        storm::in_the_stash(many)?;

        send(gate, Signal::SIGSTOP)?;
        let took = thread::scope(|scope| {
            let waiting = scope.spawn(|| storm::run(last));
            let pid = std::process::id();
            wait::until("a program to wait", PATIENCE, || Ok(is_starting(pid)?.then_some(())))?;
            ensure!(!waiting.is_finished(), "nobody waited");
            let killed_at = Instant::now();
            agent.kill()?;
            waiting.join().map_err(|_| anyhow!("a thread panicked"))??;
            anyhow::Ok(killed_at.elapsed())
        })?;
        println!("after the recorder was killed, programs waited {took:?}");
        ensure!(took < AT_ONCE, "programs waited {took:?}");
        wait::until("the end of the gate", PATIENCE, || Ok(is_gone(gate).then_some(())))
    });
}

#[test]
fn what_a_shared_mapping_has_written_is_taken_again() {
    world::inside("what_a_shared_mapping_has_written_is_taken_again", || {
        let agent = watching()?;
        // A file system whose files keep their times: only there files are left out.
        let folder = PathBuf::from("/out/tools");
        fs::create_dir(&folder)?;
        let tool = Tiny::lasting(&folder, 7)?;
        run(&tool)?;
        await_kept(&agent, &tool.sha256)?;
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&tool.path)?);
        wait::until("the ignore mark", PATIENCE, || Ok(is_ignored(&agent, inode)?.then_some(())))?;

        let content = rewrite_by_mapping(&tool.path)?;
        let changed = Tiny { sha256: tiny::hex(&content), ..tool.clone() };
        ensure!(changed.sha256 != tool.sha256, "the mapping wrote nothing");
        await_kept_on_disk(&changed.sha256)?;
        let pid = run(&changed)?;
        wait::until("the new content beside its process", PATIENCE, || {
            let events = agent.history()?;
            let of_it = |event: &&Value| {
                // With the exec itself, where it is known by then.
                (event["event.action"] == "stash" || event["event.action"] == "exec")
                    && event["process.pid"] == pid
                    && event["process.hash.sha256"] == changed.sha256.as_str()
            };
            Ok(events.iter().any(|event| of_it(&event)).then_some(()))
        })
    });
}

#[test]
fn a_new_mount_is_watched() {
    world::inside("a_new_mount_is_watched", || {
        let agent = watching()?;
        let marked =
            |agent: &Agent| Ok::<_, anyhow::Error>(agent.status()?["gate"]["marks"]["marked"].as_u64());
        let before = marked(&agent)?.context("no marks")?;
        let folder = Path::new("/tmp/new");
        fs::create_dir(folder)?;
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=8m"))?;
        wait::until("the new mount's mark", PATIENCE, || Ok(marked(&agent)?.filter(|now| *now > before)))?;
        let all = storm::write(&folder.join("tiny"), 100)?;
        storm::run(&all)?;
        agent.stop()?;
        let events = agent::history(&story::program())?;
        let kept = Found::of(&events, &all)?.kept(&all);
        ensure!(kept == all.len(), "{kept} of {}", all.len());
        Ok(())
    });
}

/// Stops that a signal told of.
static STOPS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_child(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    if code == libc::CLD_STOPPED || code == libc::CLD_CONTINUED {
        STOPS.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_parent_sees_no_stop() {
    world::inside("a_parent_sees_no_stop", || {
        let agent = watching()?;
        let all = storm::write(Path::new(TINY), 500)?;
        // SAFETY: the handler only adds to an atomic number.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_child as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            ensure!(libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) == 0);
        }
        let mut seen = 0;
        for tiny in &all {
            let pid = Pid::from_raw(i32::try_from(Command::new(&tiny.path).spawn()?.id())?);
            loop {
                match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED))? {
                    WaitStatus::Exited(..) => break,
                    WaitStatus::Stopped(..) | WaitStatus::Continued(_) => seen += 1,
                    other => bail!("{other:?}"),
                }
            }
        }
        agent.stop()?;
        let signals = STOPS.load(Ordering::Relaxed);
        println!("stops seen by {} waits: {seen}; by SIGCHLD: {signals}", all.len());
        ensure!(seen == 0 && signals == 0, "{seen} stops by waitpid, {signals} by SIGCHLD");
        let events = agent::history(&story::program())?;
        ensure!(Found::of(&events, &all)?.kept(&all) == all.len(), "they were not held at all");
        Ok(())
    });
}

/// A recorder with a gate in force.
fn watching() -> Result<Agent> {
    let agent = Agent::start(&story::program(), Path::new(LOG))?;
    let gate = &agent.status()?["gate"];
    ensure!(gate["in_force"] == true && gate["marks"]["file_systems"] == false, "{gate}");
    Ok(agent)
}

/// The gate's pid.
fn gate(agent: &Agent) -> Result<u32> {
    let helpers = children(agent.pid())?;
    let gate = helpers.into_iter().find(|seen| seen.args.get(1).is_some_and(|arg| arg == "gate"));
    Ok(gate.context("there is no gate")?.pid)
}

/// The pid of the one that replaces `old`, once it watches.
fn another_gate(agent: &Agent, old: u32) -> Result<u32> {
    wait::until("another gate", PATIENCE, || {
        let other = gate(agent).ok().filter(|pid| *pid != old);
        Ok(other.filter(|_| agent.status().is_ok_and(|status| status["gate"]["in_force"] == true)))
    })
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// Whether a child of `parent` is still a copy of it: it waits to become another program.
fn is_starting(parent: u32) -> Result<bool> {
    let own = fs::read_link(format!("/proc/{parent}/exe"))?;
    Ok(children(parent)?.iter().any(|seen| Path::new(&seen.exe) == own))
}

/// Runs it once; its pid.
fn run(tiny: &Tiny) -> Result<u32> {
    let mut child = Command::new(&tiny.path).spawn()?;
    let pid = child.id();
    ensure!(child.wait()?.code() == Some(i32::from(tiny.code)));
    Ok(pid)
}

fn await_kept(agent: &Agent, sha256: &str) -> Result<()> {
    wait::until("a stash event", PATIENCE, || {
        let events = agent.history()?;
        Ok(events.iter().any(|event| event["process.hash.sha256"] == sha256).then_some(()))
    })
}

fn await_kept_on_disk(sha256: &str) -> Result<()> {
    let copy = Path::new(STASH).join(format!("{sha256}.zst"));
    wait::until("the new content in the stash", PATIENCE, || Ok(copy.exists().then_some(())))
}

/// Whether the gate's group ignores this file: the kernel lists the group's marks.
fn is_ignored(agent: &Agent, inode: u64) -> Result<bool> {
    let folder = PathBuf::from(format!("/proc/{}/fdinfo", gate(agent)?));
    let mark = format!("fanotify ino:{inode:x} ");
    for entry in fs::read_dir(folder)?.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(&mark));
        if let Some(line) = line {
            return Ok(!line.contains("ignored_mask:0 "));
        }
    }
    Ok(false)
}

/// Changes the last byte of a file through a shared mapping; its content afterwards.
fn rewrite_by_mapping(path: &Path) -> Result<Vec<u8>> {
    let file = File::options().read(true).write(true).open(path)?;
    // SAFETY: a fresh mapping of a file that is long enough, unmapped before the descriptor is closed.
    unsafe {
        let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
        let place = libc::mmap(
            std::ptr::null_mut(),
            tiny::BYTES,
            read | write,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        ensure!(place != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        *place.cast::<u8>().add(tiny::BYTES - 1) ^= 0xff;
        libc::munmap(place, tiny::BYTES);
    }
    drop(file);
    Ok(fs::read(path)?)
}

fn of_kind<'a>(events: &'a [Value], kinds: &[&str]) -> Vec<&'a Value> {
    events.iter().filter(|event| kinds.iter().any(|kind| event["event.action"] == *kind)).collect()
}
