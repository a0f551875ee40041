//! What processes ask of the kernel is in the history, with the kernel's own numbers and names.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::events::nothing_was_lost;
use e2e::{net, story, wait, world};
use serde_json::Value;

#[test]
fn each_deed_is_told() {
    world::inside("each_deed_is_told", || {
        net::loopback_up()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let output = Command::new("/out/bin/deeds").arg("/srv").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let did: Value = serde_json::from_slice(&output.stdout)?;
        // Somebody who is not root becomes it, as who has found a way would.
        let unprivileged =
            ["--reuid", "33", "--clear-groups", "--inh-caps", "+setuid", "--ambient-caps", "+setuid"];
        let status =
            Command::new("setpriv").args(unprivileged).args(["/out/bin/deeds", "become"]).status()?;
        ensure!(status.success(), "setpriv: {status}");
        let pid = &did["pid"];
        let told = |events: &[Value], what: &str, look: &dyn Fn(&Value) -> bool| -> Result<()> {
            let mut those = events.iter().filter(|event| event["afterimage.call"] == what);
            let found =
                those.any(|event| (event["process.pid"] == *pid || what == "become_root") && look(event));
            ensure!(
                found,
                "{what} is not told: {:?}",
                events.iter().filter(|event| event["process.pid"] == *pid).collect::<Vec<_>>()
            );
            Ok(())
        };
        let events = wait::until("the end of the deeds", Duration::from_secs(20), || {
            let events = agent.history()?;
            Ok(events.iter().any(|event| event["afterimage.call"] == "become_root").then_some(events))
        })?;
        nothing_was_lost(&events)?;
        told(&events, "memfd", &|event| event["file.path"] == "memfd:deeds-in-memory")?;
        told(&events, "ptrace", &|event| event["afterimage.number"] == did["victim"])?;
        told(&events, "write_memory", &|event| event["afterimage.number"] == did["victim"])?;
        told(&events, "load_program", &|event| {
            event["afterimage.number"] == did["program"] && event["file.path"] == "deeds"
        })?;
        told(&events, "io_uring", &|_| true)?;
        told(&events, "namespace", &|event| event["afterimage.number"] == 0x0002_0000)?;
        told(&events, "mount", &|event| {
            event["file.path"].as_str().is_some_and(|path| path.ends_with("deeds-tmpfs"))
                && event["file.target_path"] == "/srv/mounted"
        })?;
        told(&events, "unmount", &|event| event["file.path"] == "/srv/mounted")?;
        told(&events, "chmod", &|event| {
            event["file.path"] == "/srv/fetched" && event["afterimage.number"] == 0o755
        })?;
        told(&events, "rename", &|event| {
            event["file.path"] == "/srv/fetched" && event["file.target_path"] == "/srv/renamed"
        })?;
        told(&events, "unlink", &|event| event["file.path"] == "/srv/renamed")?;
        told(&events, "become_root", &|_| true)?;
        let question =
            events.iter().find(|event| event["event.action"] == "question").context("no question")?;
        ensure!(
            question["dns.question.name"] == "c2.example" && question["process.pid"] == *pid,
            "{question}"
        );
        ensure!(question["dns.question.type"] == 1 && question["destination.port"] == 53, "{question}");
        closes(&agent)?;
        agent.stop()
    });
}

/// A connection's end has the bytes that went both ways, and its owner.
fn closes(agent: &Agent) -> Result<()> {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(&[1; 3000])?;
    server.read_exact(&mut [0; 3000])?;
    server.write_all(&[2; 50])?;
    client.read_exact(&mut [0; 50])?;
    let port = client.local_addr()?.port();
    drop((client, server));
    wait::until("the end of the connection", Duration::from_secs(20), || {
        let events = agent.history()?;
        let closed = |local: u64, sent: u64, received: u64| {
            events.iter().any(|event| {
                event["event.action"] == "close"
                    && event["process.pid"] == std::process::id()
                    && event["source.port"] == local
                    && event["source.bytes"] == sent
                    && event["destination.bytes"] == received
            })
        };
        let listening = u64::from(listener.local_addr()?.port());
        let port = u64::from(port);
        // The other side's end counts as one byte.
        let one = closed(port, 3000, 50) || closed(port, 3000, 51);
        let other = closed(listening, 50, 3000) || closed(listening, 50, 3001);
        Ok((one && other).then_some(()))
    })
    .with_context(|| {
        format!(
            "{:?}",
            agent.history().map(|all| all
                .into_iter()
                .filter(|event| event["event.action"] == "close")
                .collect::<Vec<_>>())
        )
    })
}
