//! What logs say is in tables, and so is what somebody took out of them; a journal that is written to meanwhile is read whole up to
//! some entry.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::judges::Bag;
use e2e::{story, wait, world};
use serde_json::Value;

const LOG: &str = "/tmp/afterimage.log";
const REMOTE: &str = "/usr/lib/systemd/systemd-journal-remote";
const JOURNALS: &str = "/var/log/journal/0123456789abcdef0123456789abcdef";
/// Who spoke to the service, and who did not.
const PEER: &str = "127.0.0.9";
const OTHER: &str = "127.0.0.99";
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts one connection, says so, and stays.
const SERVER: &str = "import socket,time
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1',8099)); s.listen(); print('listens',flush=True)
c,a=s.accept(); print(a[0],flush=True); time.sleep(150)";

#[test]
fn what_an_intruder_left_in_logs_and_took_out_of_them_is_told() {
    world::inside("what_an_intruder_left_in_logs_and_took_out_of_them_is_told", || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        fs::create_dir_all(JOURNALS)?;
        fs::create_dir_all("/var/log/nginx")?;
        for (name, compact) in [("system.journal", "1"), ("user-1001.journal", "0")] {
            write_journal(name, compact, now - 600)?;
        }
        fs::write("/var/log/auth.log", "sshd: Accepted publickey for root\n".repeat(40))?;
        let lines = format!("{PEER} - - \"POST /shell\" 200\n{OTHER} - - \"GET /\" 200\n");
        fs::write("/var/log/nginx/access.log", lines)?;
        let wtmp = [
            login(7, "pts/0", "wasiluser", "203.0.113.9", now - 500),
            vec![0; 384],
            login(8, "pts/0", "", "", now - 400),
        ];
        fs::write("/var/log/wtmp", wtmp.concat())?;
        fs::write("/var/log/wtmp.1", login(7, "pts/1", "root", "", now - 90_000))?;
        fs::write("/var/log/btmp", login(6, "ssh:notty", "admin", "198.51.100.7", now - 550))?;

        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        ensure!(agent.status()?["places"]["in_force"] == true, "{}", agent.status()?);
        let mut server = served()?;
        for script in [": > /var/log/auth.log", "exec rm /var/log/wtmp.1"] {
            ensure!(Command::new("/usr/bin/bash").args(["-c", script]).status()?.success(), "{script}");
        }
        wait::until("the deeds in the history", PATIENCE, || {
            agent.history_flushed()?;
            let events = agent.history()?;
            let told = |deed: &str| events.iter().any(|event| event["afterimage.deed"] == deed);
            Ok((told("truncated") && told("deleted")).then_some(()))
        })?;
        let sealed = agent.capture(&["--pid", &server.id().to_string(), "--profile", "triage"])?;
        server.kill()?;
        server.wait()?;
        let bag = Bag::extract(&sealed, Path::new("/var/tmp/bag"))?;
        journals_are_told(&bag)?;
        logins_are_told(&bag)?;
        removals_are_told(&bag)?;
        let peers = table(&bag, "data/log/peers.jsonl")?;
        ensure!(
            peers.len() == 1
                && peers[0]["peer"] == PEER
                && peers[0]["text"] == format!("{PEER} - - \"POST /shell\" 200"),
            "{peers:#?}"
        );
        agent.stop()
    });
}

/// A service that somebody has spoken to.
fn served() -> Result<Child> {
    let mut server = Command::new("/usr/bin/python3").args(["-c", SERVER]).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(server.stdout.take().context("no stdout")?).lines();
    ensure!(said.next().context("it ended")?? == "listens");
    let client =
        format!("import socket; socket.create_connection(('127.0.0.1',8099), source_address=('{PEER}',0))");
    ensure!(Command::new("/usr/bin/python3").args(["-c", &client]).status()?.success(), "the client failed");
    ensure!(said.next().context("it ended")?? == PEER);
    Ok(server)
}

/// What `journalctl` says of the files that were taken is what the table says.
fn journals_are_told(bag: &Bag) -> Result<()> {
    let rows = table(bag, "data/log/journal.jsonl")?;
    for name in ["system.journal", "user-1001.journal"] {
        let file = format!("{JOURNALS}/{name}");
        let said = journalctl(&bag.file(&format!("data/log{file}")))?;
        let of_it: Vec<&Value> = rows.iter().filter(|row| row["file"] == *file).collect();
        ensure!(said.len() == 100 && of_it.len() == 100, "{name}: {} and {}", said.len(), of_it.len());
        for (said, row) in said.iter().zip(of_it) {
            let mut fields = row["fields"].as_object().context("no fields")?.clone();
            for (name, value) in [
                ("__REALTIME_TIMESTAMP", micros(row)?),
                ("__MONOTONIC_TIMESTAMP", text(&row["monotonic_us"])),
            ] {
                fields.insert(name.to_owned(), value.into());
            }
            let mut said = said.as_object().context("no object")?.clone();
            said.remove("__CURSOR");
            ensure!(said == fields, "journalctl says {said:#?}, and the table {fields:#?}");
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.to_string()
}

fn micros(row: &Value) -> Result<String> {
    let time: jiff::Timestamp = row["time"].as_str().context("no time")?.parse()?;
    Ok(time.as_microsecond().to_string())
}

fn logins_are_told(bag: &Bag) -> Result<()> {
    let rows = table(bag, "data/logins.jsonl")?;
    let told = |what: &str, user: &str, host: &str, ended: &Value| {
        rows.iter().any(|row| {
            row["what"] == what && row["user"] == user && row["host"] == host && row["ended_by"] == *ended
        })
    };
    ensure!(told("failed login", "admin", "198.51.100.7", &Value::Null), "{rows:#?}");
    ensure!(told("login", "wasiluser", "203.0.113.9", &"logout".into()), "{rows:#?}");
    ensure!(rows.len() == 2, "{rows:#?}");
    Ok(())
}

fn removals_are_told(bag: &Bag) -> Result<()> {
    let rows = table(bag, "data/log/removed.jsonl")?;
    let of = |path: &str| {
        rows.iter().find(|row| row["path"] == path).with_context(|| format!("no {path}: {rows:#?}"))
    };
    let cut = of("/var/log/auth.log")?;
    ensure!(
        cut["what"] == "made shorter" && cut["bytes_before"] == 34 * 40 && cut["bytes_after"] == 0,
        "{cut:#}"
    );
    ensure!(cut["seen_in"] == "history" && !cut["process"].is_null(), "{cut:#}");
    ensure!(of("/var/log/wtmp.1")?["what"] == "deleted", "{rows:#?}");
    let wiped = of("/var/log/wtmp")?;
    ensure!(
        wiped["what"] == "record 1 is wiped: nothing but zeros" && wiped["seen_in"] == "log",
        "{wiped:#}"
    );
    ensure!(rows.len() == 3, "more than what was done: {rows:#?}");
    Ok(())
}

#[test]
fn a_journal_that_is_written_to_is_whole_up_to_some_entry() {
    world::inside("a_journal_that_is_written_to_is_whole_up_to_some_entry", || {
        fs::create_dir_all(JOURNALS)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let path = format!("{JOURNALS}/system.journal");
        let mut writer = Command::new(REMOTE)
            .args(["-o", &path, "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut into = writer.stdin.take().context("no stdin")?;
        for number in 0..200 {
            into.write_all(&entry(number, now - 600))?;
        }
        wait::until("200 entries in the journal", PATIENCE, || {
            Ok(journalctl(Path::new(&path)).is_ok_and(|said| said.len() >= 190).then_some(()))
        })?;
        let agent = Agent::start(&story::program(), Path::new(LOG))?;
        let enough = AtomicBool::new(false);
        let sealed = std::thread::scope(|scope| -> Result<_> {
            let writing = scope.spawn(|| -> Result<u64> {
                let mut number = 200;
                // So few that one file has room for all of them.
                while !enough.load(Ordering::Relaxed) && number < 5_000 {
                    into.write_all(&entry(number, now - 600))?;
                    number += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(number)
            });
            let sealed = agent.capture(&["--pid", "1", "--profile", "triage"]);
            enough.store(true, Ordering::Relaxed);
            let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            println!("{written} entries were written");
            sealed
        })?;
        drop(into);
        writer.wait()?;
        let bag = Bag::extract(&sealed, Path::new("/var/tmp/bag"))?;
        let numbers = |rows: &[Value], field: &dyn Fn(&Value) -> Value| -> Vec<Value> {
            rows.iter().map(field).collect()
        };
        let said = journalctl(&bag.file(&format!("data/log{path}")))?;
        let rows = table(&bag, "data/log/journal.jsonl")?;
        println!("{} entries in the file that was taken, {} in the table", said.len(), rows.len());
        for all in [
            numbers(&said, &|row| row["NUMBER"].clone()),
            numbers(&rows, &|row| row["fields"]["NUMBER"].clone()),
        ] {
            let expected: Vec<Value> = (0..all.len()).map(|number| number.to_string().into()).collect();
            ensure!(
                all.len() >= 190 && all == expected,
                "not the first {} entries, from {:?} on",
                all.len(),
                all.first()
            );
        }
        let removed = table(&bag, "data/log/removed.jsonl")?;
        ensure!(removed.is_empty(), "nobody took anything out: {removed:#?}");
        agent.stop()
    });
}

/// 100 entries, as systemd's own tool writes them.
fn write_journal(name: &str, compact: &str, since: u64) -> Result<()> {
    let path = format!("{JOURNALS}/{name}");
    let mut child = Command::new(REMOTE)
        .args(["-o", &path, "-"])
        .env("SYSTEMD_JOURNAL_COMPACT", compact)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {REMOTE}: `cargo xtask setup` installs it"))?;
    let mut into = child.stdin.take().context("no stdin")?;
    for number in 0..100 {
        into.write_all(&entry(number, since))?;
    }
    drop(into);
    ensure!(child.wait()?.success(), "{REMOTE} failed");
    Ok(())
}

/// An entry in the export format; every tenth is long, and so packed.
fn entry(number: u64, since: u64) -> Vec<u8> {
    let time = since * 1_000_000 + number * 1_000;
    let message = format!("Accepted publickey for root from 203.0.113.9 port {number} ");
    let message = message.repeat(if number.is_multiple_of(10) { 40 } else { 1 });
    format!(
        "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n\
         MESSAGE={message}\nNUMBER={number}\n_COMM=sshd\n_UID=0\n\n",
        1_000_000 + number * 1_000
    )
    .into_bytes()
}

fn journalctl(file: &Path) -> Result<Vec<Value>> {
    let output = Command::new("journalctl").arg("--file").arg(file).args(["-q", "-o", "json"]).output()?;
    ensure!(output.status.success(), "journalctl: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A record of utmp.
fn login(kind: i16, line: &str, user: &str, host: &str, time: u64) -> Vec<u8> {
    let mut bytes = vec![0; 384];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    for (at, text) in [(8, line), (44, user), (76, host)] {
        bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes[340..344].copy_from_slice(&u32::try_from(time).unwrap_or_default().to_le_bytes());
    bytes
}

fn table(bag: &Bag, name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(bag.file(name)).with_context(|| format!("no {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
