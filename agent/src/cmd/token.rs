//! `afterimage token`: who may come to the door.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Context, Error, Exit};
use crate::door::secrets::{self, Proof, Role, Token, Wish};
use crate::ipc::{Channel, Reply, Request};
use crate::trigger::adapter::SENDERS;

/// How long the recorder may take to tell the door.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tokens for those who trigger captures and those who read bundles.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Makes a token, shows it once, and says how a sender is told it.
    New(NewArgs),
    /// All tokens: names, roles and senders (the tokens themselves are kept nowhere).
    List(ListArgs),
    /// Takes a token back; it is refused from now on.
    Revoke(RevokeArgs),
}

/// What the token shall be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  afterimage token new --role trigger --sender falco    for Falco's http_output
  afterimage token new --role trigger --signed          a secret for Standard Webhooks signatures
  afterimage token new --role read --name anna          for an investigator: `afterimage pull`

A token goes into `Authorization: Bearer`, into `X-Api-Key`, or is the password of basic authentication with any user
name. A running recorder knows it at once.")]
pub struct NewArgs {
    /// What its holder may do.
    #[arg(long, value_enum)]
    role: Role,
    /// The only sender its holder may be.
    #[arg(long, value_parser = PossibleValuesParser::new(SENDERS))]
    sender: Option<String>,
    /// What to call it in lists and in the record of custody [default: its sender or role, and a number].
    #[arg(long)]
    name: Option<String>,
    /// Instead of a token, a secret with which the sender signs each message (Standard Webhooks): a message that is
    /// overheard is then of no use.
    #[arg(long)]
    signed: bool,
}

/// Nothing to say.
#[derive(Debug, clap::Args)]
pub struct ListArgs {}

/// Which one.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its name, as `token list` shows it.
    name: String,
}

/// Does what was typed.
pub fn run(command: &TokenCommand, context: &Context) -> Result<Exit, Error> {
    match command {
        TokenCommand::New(args) => new(args, context),
        TokenCommand::List(_) => list(context),
        TokenCommand::Revoke(args) => revoke(args, context),
    }
}

fn new(args: &NewArgs, context: &Context) -> Result<Exit, Error> {
    if args.role == Role::Read && (args.signed || args.sender.is_some()) {
        return Err(Error::usage(
            "--sender and --signed are for those who trigger: leave them out for readers",
        ));
    }
    let wish =
        Wish { name: args.name.clone(), role: args.role, sender: args.sender.clone(), signed: args.signed };
    let keys = context.config.paths.keys();
    let (token, shown) =
        secrets::edit(&keys, |secrets| secrets.add(wish, Timestamp::now())).map_err(Error::failed)?;
    let in_force = reload(context);
    if context.json {
        let mut value = describe(&token);
        if let Some(object) = value.as_object_mut() {
            let field = if args.signed { "secret" } else { "token" };
            object.insert(field.to_owned(), shown.into());
            object.insert("in_force".to_owned(), in_force.into());
        }
        context.print_json(&value)?;
        return Ok(Exit::Done);
    }
    // Only the token goes to the standard output: `token=$(afterimage token new ...)`.
    let mut out = context.out();
    writeln!(out, "{shown}")?;
    out.flush()?;
    let mut text = format!("\n{} ({}). It is shown this once.\n", token.name, allowed(&token));
    text.push_str(&advice(args, &shown, context.config.door.listen));
    if !in_force {
        text.push_str("\nNo recorder runs now; the token holds from its next start.\n");
    }
    std::io::stderr().lock().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// The lines to paste, for the senders this token can be.
fn advice(args: &NewArgs, shown: &str, listen: SocketAddr) -> String {
    let url = |sender: &str| format!("http://{listen}/v1/triggers/{sender}");
    let falco = || {
        format!(
            "\nIn /etc/falco/falco.yaml:\n  json_output: true\n  http_output: {{ enabled: true, url: \
             \"http://falco:{shown}@{listen}/v1/triggers/falco\" }}\n"
        )
    };
    let alertmanager = || {
        format!(
            "\nA receiver in alertmanager.yml:\n  webhook_configs: [{{ url: \"{}\",\n    http_config: {{ \
             authorization: {{ credentials: \"{shown}\" }} }} }}]\n",
            url("alertmanager")
        )
    };
    let curl = |sender: &str| {
        format!(
            "\nBy hand:\n  curl -H 'Authorization: Bearer {shown}' -d '{{\"rule\":\"test\",\"exe\":\"/tmp/x\"}}' {}\n",
            url(sender)
        )
    };
    match (args.role, args.signed, args.sender.as_deref()) {
        (_, true, sender) => format!(
            "\nThe sender signs with this secret (www.standardwebhooks.com) and posts to\n  {}\n",
            url(sender.unwrap_or("generic"))
        ),
        (Role::Read, ..) => {
            format!("\nFetch the bundles:\n  AFTERIMAGE_TOKEN={shown} afterimage pull http://{listen}\n")
        }
        (_, _, Some("falco")) => falco(),
        (_, _, Some("alertmanager")) => alertmanager(),
        (_, _, Some(sender)) => curl(sender),
        (_, _, None) => [falco(), alertmanager(), curl("generic")].concat(),
    }
}

fn list(context: &Context) -> Result<Exit, Error> {
    let secrets = secrets::load(&context.config.paths.keys()).map_err(Error::failed)?;
    if context.json {
        let tokens: Vec<Value> = secrets.tokens.iter().map(describe).collect();
        context.print_json(&tokens)?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    let width = secrets.tokens.iter().map(|token| token.name.len()).max().unwrap_or(0);
    for token in &secrets.tokens {
        let created = token.created.strftime("%Y-%m-%d %H:%M UTC");
        writeln!(out, "{:width$}  {created}  {}", token.name, allowed(token))?;
    }
    if secrets.tokens.is_empty() {
        writeln!(out, "no tokens; `afterimage token new --role trigger` makes one")?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn revoke(args: &RevokeArgs, context: &Context) -> Result<Exit, Error> {
    secrets::edit(&context.config.paths.keys(), |secrets| secrets.revoke(&args.name))
        .map_err(Error::failed)?;
    let in_force = reload(context);
    if context.json {
        context.print_json(&json!({ "revoked": args.name, "in_force": in_force }))?;
    }
    Ok(Exit::Done)
}

/// Tells a running recorder; whether there was one.
fn reload(context: &Context) -> bool {
    let tell = || -> Result<bool, crate::ipc::Error> {
        let channel = Channel::connect(&context.config.paths.socket)?;
        channel.set_timeout(PATIENCE)?;
        channel.send(&Request::ReloadSecrets, &[])?;
        Ok(matches!(channel.recv::<Reply>()?, Some((Reply::Done, _))))
    };
    tell().unwrap_or(false)
}

fn allowed(token: &Token) -> String {
    let what = match token.role {
        Role::Trigger => "may trigger captures",
        Role::Read => "may read bundles",
        Role::Admin => "may trigger captures and read bundles",
    };
    let sender = token.sender.as_ref().map_or_else(String::new, |sender| format!(" as {sender} only"));
    let how = if matches!(token.proof, Proof::WebhookSecret(_)) { ", by signature" } else { "" };
    format!("{what}{sender}{how}")
}

fn describe(token: &Token) -> Value {
    json!({
        "name": token.name,
        "role": token.role,
        "sender": token.sender,
        "created": token.created,
        "signed": matches!(token.proof, Proof::WebhookSecret(_)),
    })
}

#[cfg(test)]
#[path = "token_test.rs"]
mod tests;
