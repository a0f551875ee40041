//! `afterimage pull`: bundles from an agent's door, resumed where they broke off, and verified.

mod client;
mod transfer;

use std::fs::{DirBuilder, File};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use uuid::Uuid;

use self::client::Client;
use self::transfer::{Pulled, Transfer};
use super::{Context, Error, Exit};
use crate::ipc::message::BundleState;

/// A token and some white space.
const TOKEN_MAX: u64 = 4096;
/// Where the token is looked for without `--token-file`.
const TOKEN_VARIABLE: &str = "AFTERIMAGE_TOKEN";

/// Fetches bundles from an agent's door, and verifies them. What broke off is resumed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  AFTERIMAGE_TOKEN=afi_... afterimage pull http://127.0.0.1:8740
  afterimage pull http://10.0.12.34:8740 0199c3a2-... --token-file token --allowed-signers signers

The token needs the role read (`afterimage token new --role read` on the agent's host). The door speaks plain HTTP and
listens on the loopback address: come through a tunnel (ssh -L 8740:127.0.0.1:8740 HOST) or a proxy with TLS.

Exit status: 0 all are here and good; 1 failed; 3 tampered; 4 torn; 5 signed by a key that is not trusted.")]
pub struct PullArgs {
    /// The agent's address.
    url: String,
    /// Which bundles; all when left out.
    ids: Vec<Uuid>,
    /// A file with the token; otherwise the variable AFTERIMAGE_TOKEN is read.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where to put them.
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Also trust the keys in this file (as for ssh-keygen -Y verify).
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
}

/// Fetches all, and ends with the worst of their verdicts.
pub fn run(args: &PullArgs, context: &Context) -> Result<Exit, Error> {
    let client = Client::new(&args.url, &token(args)?)?;
    let wanted = wanted(args, &client)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&args.output).map_err(|failure| {
        Error::failed(format!("cannot make the directory {}: {failure}", args.output.display()))
    })?;
    let mut worst = Exit::Done;
    let mut out = context.out();
    for bundle in &wanted {
        let bar = bar(bundle, context);
        let transfer = Transfer { client: &client, bundle, directory: &args.output };
        let pulled = transfer.run(&mut |bytes| bar.set_position(bytes))?;
        bar.finish_and_clear();
        let (words, exit) = verify(&pulled, args, context)?;
        worst = worse(worst, exit);
        if context.json {
            let line = json!({
                "id": bundle.id, "file": pulled.file, "bytes": bundle.size, "sha256": bundle.sha256,
                "fetched": pulled.fetched, "verdict": words,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}  {words}", pulled.file.display())?;
        }
        out.flush()?;
    }
    if wanted.is_empty() && !context.json {
        writeln!(out, "there are no bundles there")?;
    }
    Ok(worst)
}

fn token(args: &PullArgs) -> Result<String, Error> {
    let text = match &args.token_file {
        Some(path) => {
            let fail =
                |failure| Error::usage(format!("cannot read the token in {}: {failure}", path.display()));
            let mut text = String::new();
            File::open(path).map_err(fail)?.take(TOKEN_MAX).read_to_string(&mut text).map_err(fail)?;
            text
        }
        None => std::env::var(TOKEN_VARIABLE).map_err(|_| {
            Error::usage(format!("give a token: --token-file FILE, or the variable {TOKEN_VARIABLE}"))
        })?,
    };
    Ok(text.trim().to_owned())
}

/// The bundles that were named, or all there are, oldest first: those are the next to be thrown away over there.
fn wanted(args: &PullArgs, client: &Client) -> Result<Vec<BundleState>, Error> {
    if args.ids.is_empty() {
        let mut all = client.list()?;
        all.sort_by_key(|bundle| bundle.id);
        return Ok(all);
    }
    args.ids.iter().map(|id| client.describe(*id)).collect()
}

/// Verifies what was fetched; encrypted bundles can be verified only by those who can read them.
fn verify(pulled: &Pulled, args: &PullArgs, context: &Context) -> Result<(&'static str, Exit), Error> {
    if pulled.file.extension().is_some_and(|extension| extension == "age") {
        return Ok(("as the host keeps it; encrypted, so not verified", Exit::Done));
    }
    super::bundle::verify_file(&pulled.file, args.allowed_signers.as_deref(), context)
}

fn bar(bundle: &BundleState, context: &Context) -> ProgressBar {
    if context.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bundle.size).with_style(style).with_message(bundle.id.to_string())
}

/// Tampered is worse than a failure, and that is worse than torn or not trusted.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Untrusted => 1,
        Exit::Torn => 2,
        Exit::Usage | Exit::Failed | Exit::Canary(_) => 3,
        Exit::Tampered => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The name a bundle gets here: ours, not one that the other side could choose.
fn file_name(bundle: &BundleState) -> String {
    let encrypted = Path::new(&bundle.file).extension().is_some_and(|extension| extension == "age");
    format!("{}.tar.zst{}", bundle.id, if encrypted { ".age" } else { "" })
}
