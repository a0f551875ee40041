//! Children of which everything is known, and what the agent must report of them.

use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::events::{Process, escape};
use crate::proc::Seen;

/// Arguments that break careless readers.
const ODD: [&str; 7] = ["", "two words", "quote'\"", "back\\slash", "new\nline", "\u{1b}[2J", "naïve"];

/// A child at work, held until it is let go.
pub struct Known {
    child: Child,
    seen: Seen,
    code: u8,
    flow: Flow,
}

/// Its own conversation: what the child's end was, and the listener's.
struct Flow {
    child: SocketAddr,
    listener: SocketAddr,
}

/// What became of it.
pub struct Account {
    /// As /proc showed it while it lived.
    pub seen: Seen,
    parent: Seen,
    code: Option<u8>,
    flow: Flow,
}

impl Known {
    /// Starts `program child CODE ADDRESS odd arguments...` with a connection to a listener of ours at `host`.
    pub fn start(program: &Path, host: &str, code: u8) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).with_context(|| format!("listen at {host}"))?;
        let address = listener.local_addr()?;
        let mut child = Command::new(program)
            .args(["child", &code.to_string(), &address.to_string()])
            .args(ODD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let (_stream, peer) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the child said {line}");
        let seen = Seen::of(child.id())?;
        Ok(Self { child, seen, code, flow: Flow { child: peer, listener: address } })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.seen.pid
    }

    /// Lets it end by itself.
    pub fn let_go(mut self) -> Result<Account> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.code() == Some(i32::from(self.code)), "the child ended with {status}");
        let code = Some(self.code);
        self.account(code)
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<Account> {
        self.child.kill()?;
        self.child.wait()?;
        self.account(None)
    }

    fn account(self, code: Option<u8>) -> Result<Account> {
        Ok(Account { seen: self.seen, parent: Seen::of(std::process::id())?, code, flow: self.flow })
    }
}

/// What the child does: connects, says so, waits for the end of its stdin, and exits as it was told.
pub fn child(mut arguments: impl Iterator<Item = String>) -> Result<u8> {
    let code = arguments.next().context("no exit code")?.parse()?;
    let address: SocketAddr = arguments.next().context("no address")?.parse()?;
    let _stream = TcpStream::connect(address)?;
    println!("ready");
    std::io::stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(code)
}

impl Account {
    /// Compares the agent's events with what is known.
    pub fn compare(&self, events: &[Value]) -> Result<()> {
        let process = Process::find(events, &self.seen).with_context(|| format!("{:?}", self.seen))?;
        let exec = process.one("exec")?;
        let expected: Vec<String> = self.seen.args.iter().map(|argument| escape(argument)).collect();
        equal("process.args", &exec["process.args"], &expected.into())?;
        equal("process.executable", &exec["process.executable"], &escape(&self.seen.exe).into())?;
        equal("process.name", &exec["process.name"], &escape(&self.seen.comm).into())?;
        process.has_parent(exec, &self.parent)?;
        process.has_parent(process.one("fork")?, &self.parent)?;

        let exit = process.one("exit")?;
        let (code, signal) = self.code.map_or((0, 9), |code| (code, 0));
        equal("process.exit_code", &exit["process.exit_code"], &code.into())?;
        equal("afterimage.signal", &exit["afterimage.signal"], &signal.into())?;

        let connect = process.one("connect")?;
        flow(connect, self.flow.child, self.flow.listener).context("connect")?;
        let listener = Process::find(events, &self.parent).with_context(|| format!("{:?}", self.parent))?;
        let accepted =
            listener.all("accept").any(|event| flow(event, self.flow.listener, self.flow.child).is_ok());
        ensure!(accepted, "no accept event has {} as its peer", self.flow.child);
        let listening = listener.all("listen").any(|event| event["source.port"] == self.flow.listener.port());
        ensure!(listening, "no listen event at {}", self.flow.listener);
        Ok(())
    }
}

fn flow(event: &Value, local: SocketAddr, remote: SocketAddr) -> Result<()> {
    equal("source.ip", &event["source.ip"], &local.ip().to_string().into())?;
    // At the time of the asking, the kernel has mostly not chosen it yet.
    if event["source.port"] != 0 {
        equal("source.port", &event["source.port"], &local.port().into())?;
    }
    equal("destination.ip", &event["destination.ip"], &remote.ip().to_string().into())?;
    equal("destination.port", &event["destination.port"], &remote.port().into())
}

fn equal(name: &str, reported: &Value, known: &Value) -> Result<()> {
    if reported != known {
        bail!("{name}: reported {reported}, and it is {known}");
    }
    Ok(())
}
