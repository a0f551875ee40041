//! What processes ask of the kernel is in the history, with the kernel's own numbers and names.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::events::nothing_was_lost;
use e2e::{deeds, net, story, wait, world};
use serde_json::Value;

#[test]
fn each_deed_is_told() {
    world::inside("each_deed_is_told", || {
        net::loopback_up()?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let output = Command::new("/out/bin/deeds").arg("/srv").current_dir("/srv").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let did: Value = serde_json::from_slice(&output.stdout)?;
        // Somebody who is not root becomes it, as who has found a way would.
        let unprivileged =
            ["--reuid", "33", "--clear-groups", "--inh-caps", "+setuid", "--ambient-caps", "+setuid"];
        let status =
            Command::new("setpriv").args(unprivileged).args(["/out/bin/deeds", "become"]).status()?;
        ensure!(status.success(), "setpriv: {status}");
        let events = wait::until("the end of the deeds", Duration::from_secs(20), || {
            let events = agent.history()?;
            Ok(events.iter().any(|event| event["afterimage.call"] == "become_root").then_some(events))
        })?;
        nothing_was_lost(&events)?;
        deeds::compare(&events, &did, "/srv")?;
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
