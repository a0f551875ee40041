//! What the user may type.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cmd::{self, Context, Error, Exit};
use crate::config::Config;

const HOW: &str = "\
First steps:
  afterimage doctor                     what this host lets us see and take
  afterimage run                        record, and wait for triggers (as root)
  afterimage token new --role trigger   a token for a detector's webhook
  afterimage capture --pid 4711         capture by hand
  afterimage bundle show ID             what a bundle holds

Exit status: 0 done; 1 failed; 2 wrong usage or configuration; `bundle verify` and `pull`: 3 tampered, 4 torn (what is
there is intact), 5 signed by a key that is not trusted.";

/// Keeps what stays visible after the thing itself has gone: records processes and connections all the time, and on a
/// trigger takes the evidence into one hashed, compressed, signed bundle.
#[derive(Debug, Parser)]
#[command(name = "afterimage", version, after_help = HOW, max_term_width = 110)]
struct Cli {
    /// Output for a machine: JSON (JSON Lines where there are many).
    #[arg(long, global = true)]
    json: bool,
    /// The configuration [default: /etc/afterimage/afterimage.toml, if it exists, and conf.d/*.toml beside it].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(cmd::run::RunArgs),
    Watch(cmd::watch::WatchArgs),
    Capture(cmd::capture::CaptureArgs),
    History(cmd::history::HistoryArgs),
    Status(cmd::status::StatusArgs),
    /// Lists, shows, verifies and extracts bundles.
    #[command(subcommand)]
    Bundle(cmd::bundle::BundleCommand),
    Pull(cmd::pull::PullArgs),
    Doctor(cmd::doctor::DoctorArgs),
    /// Makes or shows the host's signing key.
    #[command(subcommand)]
    Key(cmd::key::KeyCommand),
    /// Makes, lists and revokes tokens for people and senders.
    #[command(subcommand)]
    Token(cmd::token::TokenCommand),
    #[command(subcommand)]
    Artifacts(cmd::artifacts::ArtifactsCommand),
    #[command(subcommand)]
    Config(cmd::config::ConfigCommand),
    /// Tries a webhook's body without doing anything.
    #[command(subcommand)]
    Trigger(cmd::trigger::TriggerCommand),
    #[command(flatten)]
    Worker(HiddenWorker),
}

/// Helpers are no commands: they do not stand in the help.
#[derive(Debug, Subcommand)]
enum HiddenWorker {
    #[command(flatten)]
    Worker(cmd::worker::Worker),
}

/// The whole program.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(failure) => {
            // Help and version are answers, not errors; nothing can be done where even they cannot be printed.
            drop(failure.print());
            return if failure.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match run(&cli) {
        Ok(exit) => exit,
        Err(Error { words, exit }) => {
            if exit != Exit::Done {
                drop(writeln!(std::io::stderr(), "afterimage: {words}"));
            }
            exit
        }
    }
}

fn run(cli: &Cli) -> Result<Exit, Error> {
    if let Command::Worker(HiddenWorker::Worker(worker)) = &cli.command {
        log();
        return cmd::worker::run(worker);
    }
    let config = Config::load(cli.config.as_deref()).map_err(Error::usage)?;
    let context = Context { config, json: cli.json };
    match &cli.command {
        Command::Run(args) => {
            log();
            cmd::run::run(args, &context)
        }
        Command::Watch(args) => cmd::watch::run(args, &context),
        Command::Capture(args) => cmd::capture::run(args, &context),
        Command::History(args) => cmd::history::run(args, &context),
        Command::Status(args) => cmd::status::run(args, &context),
        Command::Bundle(command) => cmd::bundle::run(command, &context),
        Command::Pull(args) => cmd::pull::run(args, &context),
        Command::Doctor(args) => cmd::doctor::run(args, &context),
        Command::Key(command) => cmd::key::run(command, &context),
        Command::Token(command) => cmd::token::run(command, &context),
        Command::Artifacts(command) => cmd::artifacts::run(command, &context),
        Command::Config(command) => cmd::config::run(command, &context),
        Command::Trigger(command) => cmd::trigger::run(command, &context),
        Command::Worker(_) => Ok(Exit::Usage),
    }
}

/// The daemon's own log goes to the standard error, and so into the journal; `RUST_LOG` says how much.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Fails only when a logger is set already, which is then as good.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .with_target(false)
            .try_init(),
    );
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_hides_its_helpers() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for word in
            ["run", "watch", "capture", "history", "bundle", "pull", "doctor", "key", "token", "config"]
        {
            assert!(help.contains(&format!("\n  {word}")), "{word} is not in the help");
        }
        for word in ["stasher", "thawer", "collect ", "seal "] {
            assert!(!help.contains(word), "{word} is in the help");
        }
    }
}
