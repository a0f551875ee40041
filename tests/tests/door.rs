//! The door: who is let in, and what a sender is told who is not.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::story::door::{Answer, Door, curl};
use e2e::{signed, story, world};

const LOG: &str = "/tmp/afterimage.log";
const PATH: &str = "/v1/triggers/generic";

#[test]
fn only_well_formed_triggers_of_those_who_may_are_accepted() {
    world::inside("only_well_formed_triggers_of_those_who_may_are_accepted", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
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

#[test]
fn a_signed_message_is_accepted_once() {
    world::inside("a_signed_message_is_accepted_once", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new(LOG))?;
        let door = Door::open(&program)?;
        let secret = Door::token(&program, &["--role", "trigger", "--sender", "generic", "--signed"])?;

        let body = r#"{"rule": "signed", "pid": 1, "profile": "volatile"}"#;
        let message = signed::headers(&secret, "msg_1", 280, body)?;
        let answer = Door::generic(&message, body)?;
        ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        let id = answer.json()?["id"].as_str().context("no id")?.to_owned();
        refused(Door::generic(&message, body)?, 409)?;

        // Of what is refused nothing is remembered: the same id with a good signature is let in.
        let other = r#"{"rule": "another", "pid": 1, "profile": "volatile"}"#;
        refused(Door::generic(&signed::headers(&secret, "msg_2", 0, body)?, other)?, 401)?;
        refused(Door::generic(&signed::headers(&secret, "msg_2", 310, other)?, other)?, 401)?;
        let answer = Door::generic(&signed::headers(&secret, "msg_2", 0, other)?, other)?;
        ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        let second = answer.json()?["id"].as_str().context("no id")?.to_owned();
        ensure!(second != id, "two messages, one capture");

        door.await_sealed(&id)?;
        door.await_sealed(&second)?;
        agent.stop()?;
        let again = Agent::start(&program, Path::new(LOG))?;
        refused(Door::generic(&message, body)?, 409)?;
        again.stop()
    });
}

/// Refused with that status, as a problem (RFC 9457) with a sentence that helps.
fn refused(answer: Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "status {} and not {status}: {}", answer.status, answer.body);
    let detail = answer.json()?["detail"].as_str().map(str::len);
    ensure!(detail.context("no detail")? > 20, "no sentence that helps: {}", answer.body);
    Ok(())
}
