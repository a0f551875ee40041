//! The door: who is let in, and what a sender is told who is not.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::story::door::{Answer, Door, curl};
use e2e::{story, world};

const PATH: &str = "/v1/triggers/generic";

#[test]
fn only_well_formed_triggers_of_those_who_may_are_accepted() {
    world::inside("only_well_formed_triggers_of_those_who_may_are_accepted", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        let sender = Door::token(&program, &["--role", "trigger"])?;
        let bearer = format!("Authorization: Bearer {sender}");
        let post = |headers: &[&str], body: &str, path: &str| -> Result<Answer> {
            std::fs::write("/tmp/body", body)?;
            let mut arguments = vec!["-H", "Content-Type: application/json", "--data-binary", "@/tmp/body"];
            for header in headers {
                arguments.extend(["-H", header]);
            }
            curl(&arguments, path)
        };
        refused(post(&[], "{}", PATH)?, 401)?;
        refused(post(&["Authorization: Bearer wrong"], "{}", PATH)?, 401)?;
        refused(post(&[&bearer], "{}", "/v1/triggers/nobody")?, 404)?;
        refused(post(&[&bearer], "{\"rule\": ", PATH)?, 400)?;
        refused(post(&[&bearer], &format!("\"{}\"", "a".repeat(300 * 1024)), PATH)?, 413)?;
        ensure!(curl(&[], "/healthz")?.status == 200, "/healthz needs no token");
        let reader = Door::token(&program, &["--role", "read"])?;
        refused(post(&[&format!("Authorization: Bearer {reader}")], "{}", PATH)?, 403)?;
        agent.stop()
    });
}

/// Refused with that status, as a problem (RFC 9457) with a sentence that helps.
fn refused(answer: Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "status {} and not {status}: {}", answer.status, answer.body);
    let detail = answer.json()?["detail"].as_str().map(str::len);
    ensure!(detail.context("no detail")? > 20, "no sentence that helps: {}", answer.body);
    Ok(())
}
