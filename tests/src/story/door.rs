//! The door as a sender and an investigator use it: with curl.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::drill::Record;
use crate::{agent, wait};

const URL: &str = "http://127.0.0.1:8740";
const PATIENCE: Duration = Duration::from_secs(90);
const ALERT: &str = include_str!("../../fixtures/falco-alert.json");

/// Tokens for both.
pub struct Door {
    sender: String,
    reader: String,
}

/// What curl got.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("status {}, body {}", self.status, self.body))
    }
}

/// Falco's alert about `vim`, as its http_output posts it: path, command line, user, peer, and no pid.
pub fn alert(record: &Record) -> Result<String> {
    let mut alert: Value = serde_json::from_str(ALERT)?;
    let last = record.callbacks.last().context("no call-backs")?;
    alert["output_fields"]["fd.name"] = format!("{}:{}->192.0.2.66:4444", last.ip, last.port).into();
    alert["output_fields"]["evt.time.iso8601"] = u64::try_from(last.time)?.into();
    alert["time"] = jiff::Timestamp::from_nanosecond(i128::try_from(last.time)?)?.to_string().into();
    Ok(alert.to_string())
}

impl Door {
    /// Makes a token for Falco and one for an investigator.
    pub fn open(program: &Path) -> Result<Self> {
        let sender = Self::token(program, &["--role", "trigger", "--sender", "falco"])?;
        Ok(Self { sender, reader: Self::token(program, &["--role", "read"])? })
    }

    /// A new token, or a new secret to sign with.
    pub fn token(program: &Path, arguments: &[&str]) -> Result<String> {
        let text = agent::succeed(program, &[&["token", "new", "--json"], arguments].concat())?;
        let answer: Value = serde_json::from_slice(&text)?;
        let shown = answer["token"].as_str().or(answer["secret"].as_str());
        Ok(shown.with_context(|| format!("no token in {answer}"))?.to_owned())
    }

    /// Posts a message of the generic sender with these headers.
    pub fn generic(headers: &[String], body: &str) -> Result<Answer> {
        let mut arguments = vec!["-H", "Content-Type: application/json", "--data-binary", body];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        curl(&arguments, "/v1/triggers/generic")
    }

    /// Posts an alert as Falco does (basic authentication is all it can); the capture's id.
    pub fn alert(&self, body: &str) -> Result<String> {
        let user = format!("falco:{}", self.sender);
        let path = "/v1/triggers/falco";
        let answer =
            curl(&["-u", &user, "-H", "Content-Type: application/json", "--data-binary", body], path)?;
        ensure!(answer.status == 202, "the alert was answered with {}: {}", answer.status, answer.body);
        let answer = answer.json()?;
        Ok(answer["id"].as_str().with_context(|| format!("no id in {answer}"))?.to_owned())
    }

    /// Waits until that capture is sealed.
    pub fn await_sealed(&self, id: &str) -> Result<Value> {
        wait::until(&format!("capture {id} to be sealed"), PATIENCE, || {
            let state = self.get(&format!("/v1/captures/{id}"))?.json()?;
            match state["stage"].as_str() {
                Some("sealed") => Ok(Some(state)),
                Some("failed") => bail!("the capture failed: {state}"),
                _ => Ok(None),
            }
        })
    }

    /// Reads something as the investigator.
    pub fn get(&self, path: &str) -> Result<Answer> {
        curl(&["-H", &format!("Authorization: Bearer {}", self.reader)], path)
    }

    /// Downloads a bundle.
    pub fn download(&self, id: &str, to: &Path) -> Result<()> {
        let bearer = format!("Authorization: Bearer {}", self.reader);
        let to = to.to_str().context("an odd path")?;
        let answer = curl(&["-H", &bearer, "--output", to], &format!("/v1/bundles/{id}/content"))?;
        ensure!(answer.status == 200, "the download was answered with {}", answer.status);
        Ok(())
    }
}

/// One request.
pub fn curl(arguments: &[&str], path: &str) -> Result<Answer> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]);
    let output = command.args(arguments).arg(format!("{URL}{path}")).output().context("cannot start curl")?;
    ensure!(output.status.success(), "curl {path}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the answer is not text")?;
    let (body, status) = text.rsplit_once('\n').context("curl wrote no status")?;
    Ok(Answer { status: status.parse()?, body: body.to_owned() })
}
