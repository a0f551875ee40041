//! `afterimage key`: the host's signing key.

use std::io::Write;

use super::{Context, Error, Exit};
use crate::bundle::sign::Key;

/// The key that this host signs its bundles with.
#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Makes the key, if there is none (the recorder does so at its first start).
    New,
    /// Prints the public key.
    Public(PublicArgs),
}

/// What to print.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  afterimage key public --allowed-signers >> allowed_signers")]
pub struct PublicArgs {
    /// As a line for `ssh-keygen -Y verify -f` and `afterimage bundle verify --allowed-signers`.
    #[arg(long)]
    allowed_signers: bool,
}

/// Does what was typed.
pub fn run(command: &KeyCommand, context: &Context) -> Result<Exit, Error> {
    let keys = context.config.paths.keys();
    let (key, allowed) = match command {
        KeyCommand::New => {
            let machine_id = crate::recorder::facts::machine_id(&context.config.paths.root);
            (Key::create(&keys, &machine_id).map_err(Error::failed)?, false)
        }
        KeyCommand::Public(args) => (Key::load(&keys).map_err(Error::failed)?, args.allowed_signers),
    };
    let public = key.public_line().map_err(Error::failed)?;
    let signer = key.allowed_signers_line().map_err(Error::failed)?;
    if context.json {
        let fingerprint = key.public().fingerprint(ssh_key::HashAlg::Sha256).to_string();
        context.print_json(&serde_json::json!({
            "public": public, "allowed_signers": signer, "fingerprint": fingerprint,
        }))?;
    } else {
        let mut out = context.out();
        writeln!(out, "{}", if allowed { signer } else { public })?;
        out.flush()?;
    }
    Ok(Exit::Done)
}
