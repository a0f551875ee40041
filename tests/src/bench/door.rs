//! `cargo xtask bench door`: how long a detector waits for its 202 while captures run, against a `/healthz` of the same run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::figure::Figure;
use crate::agent::Agent;
use crate::living::Worker;
use crate::story::{self, door::Door};
use crate::{net, wait};

const ADDRESS: &str = "127.0.0.1:8740";
const TRIGGERS: usize = 100;
/// The goal: a detector's own time-out must never be near.
const GOAL: Duration = Duration::from_millis(50);
/// So large that its capture lasts longer than all the requests.
const MEMORY_MIB: usize = 1024;

/// Asks while captures of a large process run.
pub fn measure() -> Result<Vec<Figure>> {
    net::loopback_up()?;
    std::fs::create_dir_all("/etc/afterimage")?;
    std::fs::write("/etc/afterimage/afterimage.toml", "[captures]\nwaiting = 1000\nreserve_bytes = 1\n")?;
    let program = story::program();
    let agent = Agent::start(&program, "/tmp/agent.log".as_ref())?;
    let token = Door::token(&program, &["--role", "admin"])?;
    let target = Worker::with_memory(MEMORY_MIB)?;
    ensure!(trigger(&token, target.seen.pid, "first")? == 202, "the first trigger was not accepted");
    let collecting = || Ok(running(&agent)?.gt(&0).then_some(()));
    wait::until("a capture to run", Duration::from_secs(20), collecting)?;

    let mut alone = Vec::new();
    let mut answers = Vec::new();
    for number in 0..TRIGGERS {
        alone.push(timed(|| request("GET", "/healthz", "", ""))?.0);
        let (time, status) = timed(|| trigger(&token, target.seen.pid, &number.to_string()))?;
        ensure!(status == 202, "trigger {number} was answered with {status}\n{}", agent.log());
        answers.push(time);
    }
    ensure!(
        running(&agent)? > 0,
        "the captures had ended before the requests: the figure would mean nothing"
    );
    Ok(report(alone, answers))
}

fn report(mut alone: Vec<Duration>, mut answers: Vec<Duration>) -> Vec<Figure> {
    alone.sort();
    answers.sort();
    let of =
        |times: &[Duration], part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let (median, base) = (of(&answers, 50), of(&alone, 50));
    let shown = format!(
        "median {median:.1?}, 90 % {:.1?}, worst {:.1?}; /healthz {base:.1?}",
        of(&answers, 90),
        of(&answers, 99)
    );
    let what = format!("202 for a trigger while captures run ({TRIGGERS} requests), ms");
    vec![Figure::new(what, median.as_secs_f64() * 1e3, shown).at_most(GOAL.as_secs_f64() * 1e3)]
}

/// How many captures run at this moment.
fn running(agent: &Agent) -> Result<u64> {
    agent.status()?["captures"]["running"].as_u64().context("no captures in the status")
}

fn trigger(token: &str, pid: u32, key: &str) -> Result<u16> {
    let body = format!(r#"{{"rule":"bench","dedup_key":"{key}","target":{{"pid":{pid}}}}}"#);
    request("POST", "/v1/triggers/generic", token, &body)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let begun = Instant::now();
    let result = work()?;
    Ok((begun.elapsed(), result))
}

/// One request on a connection of its own, as detectors make them; the status.
fn request(method: &str, path: &str, token: &str, body: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).with_context(|| format!("no status in {answer:?}"))?;
    Ok(status.parse()?)
}
