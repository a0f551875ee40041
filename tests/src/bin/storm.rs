//! Starts processes as fast as the machine can: each worker does vfork, execve and wait, over and over.
//!
//! Every life has an argument of its own, `<worker>-<number>`; one in the middle has a second one, `marked`. Says as one
//! JSON line what it really did.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

/// A storm of short lives.
#[derive(Parser)]
struct Options {
    /// Threads that start processes.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Ends after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Ends after so many lives of each worker.
    #[arg(long, default_value_t = u64::MAX)]
    times: u64,
    /// Each worker rests for so many µs after each life.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// A program that is started again and again; or a folder, each of whose files is started once.
    program: PathBuf,
}

/// What one worker did.
struct Done {
    lives: u64,
    marked: Option<Pid>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let programs = programs(&options)?;
    let ready = Barrier::new(options.workers + 1);
    let (done, took) = thread::scope(|scope| {
        let start = |worker| {
            let (options, programs, ready) = (&options, &programs, &ready);
            scope.spawn(move || {
                ready.wait();
                work(options, programs, worker)
            })
        };
        let workers: Vec<_> = (0..options.workers).map(start).collect();
        ready.wait();
        let begun = Instant::now();
        let done: Result<Vec<Done>> = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
            .collect();
        anyhow::Ok((done?, begun.elapsed()))
    })?;
    let lives: u64 = done.iter().map(|done| done.lives).sum();
    ensure!(lives > 0, "not one process was started");
    let workers: Vec<u64> = done.iter().map(|done| done.lives).collect();
    let marked = done.iter().find_map(|done| done.marked).map(Pid::as_raw);
    let seconds = took.as_secs_f64();
    let per_life = seconds * options.workers as f64 / lives as f64 * 1e6;
    println!(
        "{}",
        json!({"pid": std::process::id(), "lives": lives, "by_worker": workers, "marked": marked, "seconds": seconds, "us_per_life": per_life})
    );
    Ok(())
}

fn programs(options: &Options) -> Result<Vec<CString>> {
    let mut paths = vec![options.program.clone()];
    if options.program.is_dir() {
        let entries = fs::read_dir(&options.program)?;
        paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    }
    ensure!(!paths.is_empty(), "no programs in {}", options.program.display());
    paths.into_iter().map(|path| Ok(CString::new(path.as_os_str().as_bytes())?)).collect()
}

fn work(options: &Options, programs: &[CString], worker: usize) -> Result<Done> {
    let each_once = options.program.is_dir();
    let own = programs.iter().skip(if each_once { worker } else { 0 });
    let mut own = own.step_by(if each_once { options.workers } else { 1 }).cycle();
    let most = if each_once {
        (programs.len().saturating_sub(worker)).div_ceil(options.workers) as u64
    } else {
        options.times
    };
    let begun = Instant::now();
    let (until, middle) = (Duration::from_secs(options.seconds), Duration::from_secs(options.seconds) / 2);
    let mut done = Done { lives: 0, marked: None };
    while done.lives < most && begun.elapsed() < until {
        let program = own.next().context("no program")?;
        let number = CString::new(format!("{worker}-{}", done.lives))?;
        let is_middle = done.lives >= most / 2 || begun.elapsed() >= middle;
        if worker == 0 && done.marked.is_none() && is_middle {
            done.marked = Some(live(program, &[program, &number, c"marked"])?);
        } else {
            live(program, &[program, &number])?;
        }
        done.lives += 1;
        if options.pause_us > 0 {
            thread::sleep(Duration::from_micros(options.pause_us));
        }
    }
    Ok(done)
}

/// One life, from vfork to wait.
fn live(program: &CStr, arguments: &[&CStr]) -> Result<Pid> {
    let none: [&CStr; 0] = [];
    let pid =
        posix_spawn(program, &PosixSpawnFileActions::init()?, &PosixSpawnAttr::init()?, arguments, &none)
            .with_context(|| format!("start {program:?}"))?;
    let ended = waitpid(pid, None)?;
    ensure!(ended == WaitStatus::Exited(pid, 0), "{program:?} ended badly: {ended:?}");
    Ok(pid)
}
