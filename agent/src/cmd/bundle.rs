//! `afterimage bundle`: what was captured.

mod extract;
mod list;
mod show;
mod timeline;
mod tree;
mod verify;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Context, Error, Exit};
use crate::bundle::reader::{self, ArtifactReader, Place};
use crate::bundle::sign::{self, Key};
use crate::bundle::signers::{self, Signers};
use crate::bundle::verify::{Report, Signature, Verdict};
use crate::bundle::{Capture, Fault};
use crate::store::Store;
use crate::text;

/// The allowed-signers file of this host.
const ALLOWED_SIGNERS: &str = "/etc/afterimage/allowed_signers";

/// Looks into bundles: what there is, what one holds, whether it is what was sealed.
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// All bundles of this host, oldest first.
    List(list::ListArgs),
    /// What one bundle holds, what is missing and why.
    Show(show::ShowArgs),
    /// The processes, living and exited, with their lineage.
    Tree(tree::TreeArgs),
    /// The recorded events in order of time, with the trigger.
    Timeline(timeline::TimelineArgs),
    /// Whether a bundle is what was sealed: 0 good, 3 tampered, 4 torn, 5 signed by a key that is not trusted.
    Verify(verify::VerifyArgs),
    /// Artifacts as files, each compared with its hash.
    Extract(extract::ExtractArgs),
}

/// Which bundle, and whom to trust.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// A bundle's id, or its beginning, or a file; the newest of this host when left out.
    #[arg(value_name = "ID|FILE")]
    bundle: Option<PathBuf>,
    /// Also trust the keys in this file (as for ssh-keygen -Y verify).
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
}

/// Does what was typed.
pub fn run(command: &BundleCommand, context: &Context) -> Result<Exit, Error> {
    match command {
        BundleCommand::List(args) => list::run(args, context),
        BundleCommand::Show(args) => show::run(args, context),
        BundleCommand::Tree(args) => tree::run(args, context),
        BundleCommand::Timeline(args) => timeline::run(args, context),
        BundleCommand::Verify(args) => verify::run(args, context),
        BundleCommand::Extract(args) => extract::run(args, context),
    }
}

/// Verifies the bundle in one file; the verdict in words, and how the program ends by it.
pub(super) fn verify_file(
    path: &Path,
    allowed_signers: Option<&Path>,
    context: &Context,
) -> Result<(&'static str, Exit), Error> {
    let which = Which { bundle: Some(path.to_owned()), allowed_signers: allowed_signers.map(Path::to_owned) };
    let bundle = file(path)?;
    let report = bundle.verify(&which.signers(context)?)?;
    if let Some(caveat) = verify::caveat(&report) {
        remark(&format!("{}: {caveat}", bundle.name));
    }
    Ok((verify::words(&report), verify::exit(report.verdict)))
}

/// A bundle's file, and how to call it in texts.
struct Opened {
    file: File,
    name: String,
}

impl Which {
    fn open(&self, context: &Context) -> Result<Opened, Error> {
        let Some(typed) = &self.bundle else {
            let store = Store::existing(&context.config.paths.bundles()).map_err(Error::failed)?;
            return stored(&store, store.newest().map_err(Error::failed)?);
        };
        let id = typed.to_str().filter(|typed| {
            !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        });
        match id {
            Some(id) if !typed.exists() => {
                let store = Store::existing(&context.config.paths.bundles()).map_err(Error::failed)?;
                stored(&store, store.find(id).map_err(Error::failed)?)
            }
            _ => file(typed),
        }
    }

    /// The host's own key, this host's file, and the file that was named.
    fn signers(&self, context: &Context) -> Result<Signers, Error> {
        let mut trusted = Signers::default();
        let keys = context.config.paths.keys();
        match Key::load(&keys) {
            Ok(key) => {
                let origin = keys.join(sign::KEY_FILE).display().to_string();
                trusted.add_own(key.public(), &format!("the key of this host, {origin}"));
            }
            Err(sign::Error::None(_)) => {}
            // Without the right to read the key, others may still be trusted.
            Err(error) => remark(&format!("the key of this host is not among the trusted: {error}")),
        }
        let host = Path::new(ALLOWED_SIGNERS);
        if host.exists() {
            add_file(&mut trusted, host)?;
        }
        if let Some(path) = &self.allowed_signers {
            add_file(&mut trusted, path)?;
        }
        Ok(trusted)
    }
}

fn stored(store: &Store, id: uuid::Uuid) -> Result<Opened, Error> {
    Ok(Opened { file: store.open_sealed(id).map_err(Error::failed)?, name: id.to_string() })
}

fn file(path: &Path) -> Result<Opened, Error> {
    let name = shown(path);
    let fail = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "; `afterimage bundle list` shows what there is",
            _ => "",
        };
        Error::failed(format!("cannot open the bundle {name}: {error}{hint}"))
    };
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Error::failed(format!("{name} is not a regular file: give a bundle's file, or its id")));
    }
    Ok(Opened { file, name })
}

fn add_file(trusted: &mut Signers, path: &Path) -> Result<(), Error> {
    let fail = |error| Error::usage(format!("cannot read the allowed signers {}: {error}", shown(path)));
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    file.take(signers::FILE_MAX).read_to_string(&mut text).map_err(fail)?;
    for refused in trusted.add_file(&text, &shown(path)) {
        remark(&refused);
    }
    Ok(())
}

/// What a bundle holds, as far as that can be trusted.
struct Contents {
    /// Its own account, unless it was cut.
    account: Option<(Capture, Signature)>,
    /// What was found of one that was cut.
    torn: Option<Report>,
    /// Name and place of every artifact.
    artifacts: Vec<(String, Place)>,
}

impl Opened {
    /// Reads the bundle's account; of a torn bundle, everything.
    fn contents(&self, signers: &Signers) -> Result<Contents, Error> {
        let now = Timestamp::now();
        match reader::account(&self.file, signers, now) {
            Ok((capture, signature)) => {
                let named = |artifact: &crate::bundle::Artifact| {
                    (artifact.name.as_str().to_owned(), Place::from(artifact))
                };
                let artifacts = capture.artifacts.iter().map(named).collect();
                if signature.trusted_by.is_none() {
                    remark(&format!(
                        "{} is signed by the key {}, which is NOT TRUSTED for {}: {}",
                        self.name,
                        signature.fingerprint,
                        signature.principal,
                        verify::TRUST
                    ));
                }
                Ok(Contents { account: Some((capture, signature)), torn: None, artifacts })
            }
            Err(Fault::Torn { .. }) => {
                let report = self.verify(signers)?;
                if report.verdict != Verdict::Torn {
                    return Err(self.refused(&report));
                }
                let why = report.why.as_deref().unwrap_or_default();
                remark(&format!("{} is torn ({why}): this is what is left of it", self.name));
                if let Some(caveat) = verify::caveat(&report) {
                    remark(&caveat);
                }
                let named =
                    |intact: &crate::bundle::verify::Intact| (intact.name.clone(), Place::from(intact));
                let artifacts = report.intact.iter().map(named).collect();
                Ok(Contents { account: None, torn: Some(report), artifacts })
            }
            Err(fault @ Fault::Tampered(_)) => Err(Error {
                words: format!("{} was tampered with: {fault}", self.name),
                exit: Exit::Tampered,
            }),
            Err(fault) => Err(Error::failed(format!("{}: {fault}", self.name))),
        }
    }

    fn verify(&self, signers: &Signers) -> Result<Report, Error> {
        let fail = |error| Error::failed(format!("cannot read {}: {error}", self.name));
        std::io::Seek::seek(&mut &self.file, std::io::SeekFrom::Start(0)).map_err(fail)?;
        let source = std::io::BufReader::with_capacity(1 << 20, &self.file);
        Ok(crate::bundle::verify::verify(source, signers, Timestamp::now()))
    }

    fn refused(&self, report: &Report) -> Error {
        let why = report.why.as_deref().unwrap_or("it is not what was sealed");
        let caveat = verify::caveat(report).map(|caveat| format!("; {caveat}")).unwrap_or_default();
        Error {
            words: format!("{}: {}: {why}{caveat}", self.name, verify::words(report)),
            exit: verify::exit(report.verdict),
        }
    }

    fn artifact(&self, name: &str, place: &Place) -> Result<ArtifactReader<'_>, Error> {
        reader::artifact(&self.file, place.clone()).map_err(|fault| self.broken(name, &fault))
    }

    /// An artifact whose bytes are not what the signed manifest says.
    fn broken(&self, name: &str, why: &dyn std::fmt::Display) -> Error {
        Error { words: format!("{} was tampered with: {name}: {why}", self.name), exit: Exit::Tampered }
    }
}

impl Contents {
    fn find(&self, name: &str) -> Option<&Place> {
        self.artifacts.iter().find(|(artifact, _)| artifact == name).map(|(_, place)| place)
    }
}

/// A path as it may be printed.
fn shown(path: &Path) -> String {
    text::escape(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
}

/// A word beside the answer. Nobody may be listening; that changes nothing.
fn remark(words: &str) {
    drop(std::io::Write::write_all(&mut std::io::stderr().lock(), format!("note: {words}\n").as_bytes()));
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    let mut whole = bytes;
    let mut tenth = 0;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            return if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenth} {unit}") };
        }
        tenth = (whole % 1024) * 10 / 1024;
        whole /= 1024;
    }
    format!("{whole} PiB")
}

#[cfg(test)]
mod test;
