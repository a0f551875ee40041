//! What the actor `deeds` did, and what the agent must report of it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Compares the agent's events with what the actor says in `did` that it has done in `folder`.
pub fn compare(events: &[Value], did: &Value, folder: &str) -> Result<()> {
    let own: Vec<&Value> = events.iter().filter(|event| event["process.pid"] == did["pid"]).collect();
    let told = |what: &str, look: &dyn Fn(&Value) -> bool| -> Result<()> {
        let found = own.iter().any(|event| event["afterimage.call"] == what && look(event));
        ensure!(found, "{what} is not told: {own:?}");
        Ok(())
    };
    let of_victim = |event: &Value| event["afterimage.number"] == did["victim"];
    let path = |event: &Value, name: &str| event["file.path"] == format!("{folder}/{name}");
    told("memfd", &|event| event["file.path"] == "memfd:deeds-in-memory")?;
    told("ptrace", &of_victim)?;
    told("write_memory", &of_victim)?;
    told("load_program", &|event| {
        event["afterimage.number"] == did["program"] && event["file.path"] == "deeds"
    })?;
    if did["io_uring"] == true {
        told("io_uring", &|_| true)?;
    }
    told("namespace", &|event| event["afterimage.number"] == 0x0002_0000)?;
    told("mount", &|event| {
        event["file.path"].as_str().is_some_and(|path| path.ends_with("deeds-tmpfs"))
            && event["file.target_path"] == format!("{folder}/mounted")
    })?;
    told("unmount", &|event| path(event, "mounted"))?;
    told("chmod", &|event| path(event, "fetched") && event["afterimage.number"] == 0o755)?;
    told("rename", &|event| {
        path(event, "fetched") && event["file.target_path"] == format!("{folder}/renamed")
    })?;
    told("unlink", &|event| path(event, "renamed"))?;
    let question = own.iter().find(|event| event["event.action"] == "question").context("no question")?;
    ensure!(question["dns.question.name"] == "c2.example", "{question}");
    ensure!(question["dns.question.type"] == 1 && question["destination.port"] == 53, "{question}");
    Ok(())
}
