//! `afterimage trigger test`: what a webhook body would do, without doing it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Context, Error, Exit};
use crate::capture::recall::{Question, recall};
use crate::door::secrets;
use crate::history::tree::Tree;
use crate::text;
use crate::trigger::adapter::{self, SENDERS};
use crate::trigger::resolve::{Match, resolve};
use crate::trigger::{Target, Trigger};

/// How long the history is looked through, for each alert.
const PATIENCE: Duration = Duration::from_secs(20);
/// As much as the door takes.
const BODY_MAX: u64 = 256 * 1024;

/// Looks at triggers without firing them.
#[derive(Debug, clap::Subcommand)]
pub enum TriggerCommand {
    /// Reads a sender's message as the door would, and finds whom it means in this host's history.
    Test(TestArgs),
}

/// Which message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  afterimage trigger test falco alert.json
  curl -s http://detector/last | afterimage trigger test alertmanager - --json

Nothing is captured and nothing is sent. The history on disk is read if this user may read it.")]
pub struct TestArgs {
    /// Who would send it.
    #[arg(value_parser = PossibleValuesParser::new(SENDERS))]
    sender: String,
    /// The body; `-` is the standard input.
    file: PathBuf,
}

/// Does what was typed.
pub fn run(command: &TriggerCommand, context: &Context) -> Result<Exit, Error> {
    let TriggerCommand::Test(args) = command;
    let body = read(&args.file)?;
    let adapted = adapter::adapt(&args.sender, &body, None)
        .map_err(|error| Error::failed(format!("the door would answer 400: {error}")))?;
    let tokens = tokens(&args.sender, context);
    let now = Timestamp::now();
    let found = |trigger: &Trigger| {
        let tree = history(trigger, context, now)?;
        Some((resolve(trigger, &tree, now), tree))
    };
    if context.json {
        let triggers: Vec<Value> = adapted
            .triggers
            .iter()
            .map(|trigger| json!({ "trigger": trigger, "means": found(trigger).map(|(means, _)| means) }))
            .collect();
        context.print_json(&json!({
            "sender": args.sender, "tokens": tokens, "triggers": triggers, "ignored": adapted.ignored,
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    writeln!(out, "{} would be let in with {}", args.sender, said(tokens.as_deref()))?;
    if adapted.triggers.is_empty() {
        writeln!(out, "no alert in it calls for a capture (all are resolved)")?;
    }
    for trigger in &adapted.triggers {
        print(trigger, found(trigger), &mut out)?;
    }
    if adapted.ignored > 0 {
        writeln!(out, "{} more alerts in it would be left out", adapted.ignored)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let name = text::escape(path.as_os_str().as_encoded_bytes());
    let fail = |failure| Error::failed(format!("cannot read the message {name}: {failure}"));
    let mut body = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(fail)?)
    };
    source.take(BODY_MAX.saturating_add(1)).read_to_end(&mut body).map_err(fail)?;
    if u64::try_from(body.len()).unwrap_or(u64::MAX) > BODY_MAX {
        return Err(Error::failed(format!("the door would answer 413: {name} has more than 256 KiB")));
    }
    Ok(body)
}

/// The names of the tokens this sender could use; `None` when they cannot be read.
fn tokens(sender: &str, context: &Context) -> Option<Vec<String>> {
    let secrets = secrets::load(&context.config.paths.keys()).ok()?;
    let fits = |token: &&secrets::Token| {
        token.role != secrets::Role::Read && token.sender.as_deref().is_none_or(|bound| bound == sender)
    };
    Some(secrets.tokens.iter().filter(fits).map(|token| token.name.clone()).collect())
}

fn said(tokens: Option<&[String]>) -> String {
    match tokens {
        None => "a token (which there are cannot be read by this user)".to_owned(),
        Some([]) => "no token: `afterimage token new` makes one".to_owned(),
        Some(tokens) => format!("one of the tokens {}", tokens.join(", ")),
    }
}

/// What the history on disk knows of whom `trigger` may mean; `None` when there is none that this user may read.
fn history(trigger: &Trigger, context: &Context, now: Timestamp) -> Option<Tree> {
    let hours = i64::try_from(context.config.capture.history_hours).unwrap_or(i64::MAX).min(100_000);
    let since = now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
    let folder = &context.config.paths.history();
    let question = Question { folder, trigger, targets: &[], running: &[], since, now };
    Some(recall(&question, Instant::now() + PATIENCE).ok()?.tree)
}

fn print(trigger: &Trigger, found: Option<(Vec<Match>, Tree)>, out: &mut impl Write) -> Result<(), Error> {
    let severity = trigger.severity.map_or_else(|| "unknown".to_owned(), |severity| format!("{severity:?}"));
    writeln!(out, "\nrule          {}", text::escape(trigger.rule.as_bytes()))?;
    writeln!(out, "severity      {}", severity.to_lowercase())?;
    if let Some(time) = trigger.time {
        writeln!(out, "time          {time}")?;
    }
    for (name, value) in hints(&trigger.target) {
        writeln!(out, "{name:<13} {value}")?;
    }
    match found {
        Some((found, tree)) if !found.is_empty() => {
            for Match { process, score, why } in found {
                let image = tree.get(&process).and_then(|node| node.image());
                let name = image.map_or_else(String::new, |image| image.executable.to_string());
                writeln!(
                    out,
                    "means         {} {name} (score {score}: {})",
                    process.short(),
                    why.join(", ")
                )?;
            }
        }
        Some((_, tree)) => {
            writeln!(
                out,
                "means         none of the {} processes that were looked at in the history",
                tree.len()
            )?;
        }
        None => writeln!(out, "means         (no history here that this user may read)")?,
    }
    Ok(())
}

/// What it says of the process, as far as it says something.
fn hints(target: &Target) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(target) else { return Vec::new() };
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null() && *value != Value::Bool(false))
        .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}
