//! `afterimage config`: the configuration, checked or printed.

use std::io::Write;

use super::{Context, Error, Exit};
use crate::config;

/// Checks the configuration, or prints the commented default.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Reads the configuration as `run` would, and prints what is in force.
    Check,
    /// Prints the default configuration with a comment on every value.
    Default,
}

/// Prints; a wrong configuration has ended the program before this.
pub fn run(command: &ConfigCommand, context: &Context) -> Result<Exit, Error> {
    match command {
        ConfigCommand::Check if context.json => context.print_json(&context.config)?,
        ConfigCommand::Check => {
            let text = toml::to_string(&context.config).map_err(Error::failed)?;
            let mut out = context.out();
            writeln!(
                out,
                "# the configuration is right; in force is (sha256 {}):\n{text}",
                context.config.sha256()
            )?;
            out.flush()?;
        }
        ConfigCommand::Default => {
            let mut out = context.out();
            out.write_all(config::DEFAULT_TEXT.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(Exit::Done)
}
