//! `afterimage bundle extract`.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use sha2::{Digest, Sha256};

use super::super::{Context, Error, Exit};
use super::{Opened, Which, remark, shown, size, verify};
use crate::bundle::frame::Frames;
use crate::bundle::members::{Member, Members};
use crate::bundle::signers::matches;
use crate::bundle::verify::{Report, Verdict};
use crate::text;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Files are written as DIR/<id>/data/..., under their names in the bundle, never over a file that is \
                        there.\nExamples:\n  afterimage bundle extract 0193 --output /tmp/case\n  \
                        afterimage bundle extract 0193 --artifact 'process/*/exe' --artifact 'log/*'"
)]
pub struct ExtractArgs {
    #[command(flatten)]
    pub(super) which: Which,
    /// Only artifacts whose name matches (`*` and `?`; the name is that of `bundle show --artifacts`, with or without `data/`).
    #[arg(long = "artifact", value_name = "PATTERN")]
    pub(super) artifacts: Vec<String>,
    /// Where to.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(super) output: PathBuf,
    /// Also from a bundle that was tampered with, or is signed by a key that is not trusted.
    #[arg(long)]
    pub(super) force: bool,
}

pub(super) fn run(args: &ExtractArgs, context: &Context) -> Result<Exit, Error> {
    let signers = args.which.signers(context)?;
    let bundle = args.which.open(context)?;
    let report = bundle.verify(&signers)?;
    match report.verdict {
        Verdict::Good => {}
        Verdict::Unreadable => return Err(bundle.refused(&report)),
        Verdict::Torn => {
            remark(&format!("{} is torn: only what is wholly there is extracted", bundle.name));
            if let Some(caveat) = verify::caveat(&report) {
                remark(&caveat);
            }
        }
        Verdict::Tampered | Verdict::Untrusted if args.force => {
            remark(&format!("{}: do not rely on what is extracted", bundle.refused(&report)));
        }
        Verdict::Tampered | Verdict::Untrusted => {
            let mut error = bundle.refused(&report);
            error.words.push_str("; nothing was extracted (--force does, as far as it can be read)");
            return Err(error);
        }
    }
    let written = extract(args, &bundle, &report)?;
    let bytes = written.iter().fold(0_u64, |sum, written| sum.saturating_add(written.size));
    if context.json {
        context.print_json(&written)?;
    } else {
        let mut out = context.out();
        let id = report.id.unwrap_or_default();
        let place = args.output.join(id.to_string());
        writeln!(out, "{} artifacts, {}, in {}", written.len(), size(bytes), shown(&place))?;
        out.flush()?;
    }
    if written.is_empty() {
        return Err(Error::failed(format!(
            "{}: no artifact matches; `bundle show --artifacts` names them",
            bundle.name
        )));
    }
    Ok(verify::exit(report.verdict))
}

/// A file that was written.
#[derive(serde::Serialize)]
struct Written {
    name: String,
    size: u64,
    sha256: String,
}

fn extract(args: &ExtractArgs, bundle: &Opened, report: &Report) -> Result<Vec<Written>, Error> {
    let unreadable = |error| Error::failed(format!("cannot read {}: {error}", bundle.name));
    (&bundle.file).seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let source = BufReader::with_capacity(1 << 20, &bundle.file);
    let mut members = Members::new(Frames::new(source, 0).map_err(unreadable)?);
    let known: HashMap<&str, &str> =
        report.intact.iter().map(|intact| (intact.name.as_str(), intact.sha256.as_str())).collect();
    let mut target = None;
    let mut written = Vec::new();
    // The same faults as in the first pass end this one; they have been said.
    while let Ok(Some(member)) = members.next_member() {
        let expected = known.get(member.name.as_str()).copied();
        if !wanted(&args.artifacts, &member) || (member.tag().is_none() && expected.is_none()) {
            continue;
        }
        if target.is_none() {
            let id = members.id().unwrap_or_default().to_string();
            target = Some(Target::create(&args.output, &id)?);
        }
        let Some(target) = &target else { break };
        let sha256 = target.write(&member.name, &mut members)?;
        if expected.is_some_and(|expected| expected != sha256) {
            return Err(bundle.broken(&member.name, &"it changed while it was extracted"));
        }
        written.push(Written { name: member.name, size: member.size, sha256 });
    }
    Ok(written)
}

fn wanted(patterns: &[String], member: &Member) -> bool {
    let short = member.name.strip_prefix("data/").unwrap_or(&member.name);
    patterns.is_empty()
        || patterns.iter().any(|pattern| matches(pattern, short) || matches(pattern, &member.name))
}

/// The folder `DIR/<id>`, by descriptor: a link that somebody puts in the way is not followed.
struct Target {
    folder: OwnedFd,
    path: PathBuf,
}

impl Target {
    fn create(output: &Path, id: &str) -> Result<Self, Error> {
        let path = output.join(id);
        let fail =
            |error: io::Error| Error::failed(format!("cannot make the folder {}: {error}", shown(&path)));
        DirBuilder::new().recursive(true).mode(0o700).create(output).map_err(fail)?;
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
        let parent = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(output).map_err(fail)?;
        let folder = enter(&parent.into(), id).map_err(fail)?;
        Ok(Self { folder, path })
    }

    /// Writes the current member to a new file; its hash.
    fn write(&self, name: &str, members: &mut Members<impl Read>) -> Result<String, Error> {
        let shown = format!("{}/{}", shown(&self.path), text::escape(name.as_bytes()));
        let fail = |error: io::Error| Error::failed(format!("cannot write {shown}: {error}"));
        let mut file = self.create_file(name).map_err(fail)?;
        let mut hash = Sha256::new();
        loop {
            let bytes =
                members.data().map_err(|fault| Error::failed(format!("cannot read {name}: {fault}")))?;
            if bytes.is_empty() {
                return Ok(text::hex(&hash.finalize()));
            }
            hash.update(bytes);
            file.write_all(bytes).map_err(fail)?;
        }
    }

    /// `name` has passed the reader's rules: no `..`, no empty or absolute part.
    fn create_file(&self, name: &str) -> io::Result<File> {
        let mut folder = self.folder.try_clone()?;
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                return Ok(openat(&folder, part, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into());
            }
            folder = enter(&folder, part)?;
        }
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn enter(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(folder, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}
