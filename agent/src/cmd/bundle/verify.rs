//! `afterimage bundle verify`.

use std::io::Write;

use super::super::{Context, Error, Exit};
use super::{Which, size};
use crate::bundle::verify::{Report, Verdict};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Trusted are the key of this host, /etc/afterimage/allowed_signers and --allowed-signers.\n\
                        Without this program:\n  tar --zstd -xf ID.tar.zst && cd ID\n  \
                        sha256sum -c tagmanifest-sha256.txt && sha256sum -c manifest-sha256.txt\n  \
                        ssh-keygen -Y verify -f allowed_signers -I afterimage@MACHINE -n afterimage \\\n    \
                        -s tagmanifest-sha256.txt.sig < tagmanifest-sha256.txt"
)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub(super) which: Which,
}

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, Error> {
    let signers = args.which.signers(context)?;
    let bundle = args.which.open(context)?;
    let report = bundle.verify(&signers)?;
    if context.json {
        context.print_json(&report)?;
    } else {
        let mut out = context.out();
        print(&bundle.name, &report, &mut out)?;
        out.flush()?;
    }
    Ok(exit(report.verdict))
}

pub(super) fn print(name: &str, report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{name}: {}", words(report))?;
    match &report.why {
        Some(why) => writeln!(out, ": {why}")?,
        None => writeln!(out)?,
    }
    if let Some(signature) = &report.signature {
        writeln!(out, "  signed as {} by {}", signature.principal, signature.fingerprint)?;
        if let Some(origin) = &signature.trusted_by {
            writeln!(out, "  trusted by {origin}")?;
        }
    }
    if let Some(caveat) = caveat(report) {
        writeln!(out, "  {caveat}")?;
    }
    let bytes = report.intact.iter().fold(0_u64, |sum, intact| sum.saturating_add(intact.size));
    match report.verdict {
        Verdict::Good | Verdict::Untrusted => {
            writeln!(out, "  {} artifacts, {}, every hash as signed", report.intact.len(), size(bytes))?;
        }
        Verdict::Torn => {
            writeln!(out, "  {} artifacts, {}, are wholly there:", report.intact.len(), size(bytes))?;
            for intact in &report.intact {
                writeln!(out, "  {}  {}", intact.sha256, intact.name)?;
            }
        }
        Verdict::Tampered | Verdict::Unreadable => {}
    }
    if let Some(why) = report.capture.as_ref().and_then(|capture| capture.incomplete.as_ref()) {
        writeln!(out, "  the capture itself is not complete: {}", crate::text::escape(why.as_bytes()))?;
    }
    Ok(())
}

/// Of a torn bundle whose tag files are lost, nobody can say that it is what was sealed.
const UNCOVERED: &str = "nothing here is covered by a signature: these are checksums only";

/// What to do about a signer who is not trusted.
pub(super) const TRUST: &str = "get the host's line with `afterimage key public --allowed-signers` there, by a way you \
                                trust, and give it as --allowed-signers FILE";

/// The verdict, and of a torn bundle also whether its signer is trusted.
pub(super) fn words(report: &Report) -> &'static str {
    match report.verdict {
        Verdict::Good => "good",
        Verdict::Unreadable => "cannot be read",
        Verdict::Tampered => "TAMPERED",
        Verdict::Torn if is_untrusted(report) => "TORN, NOT TRUSTED",
        Verdict::Torn => "TORN",
        Verdict::Untrusted => "NOT TRUSTED",
    }
}

/// Why what is there is no more than a claim, if so.
pub(super) fn caveat(report: &Report) -> Option<String> {
    if is_untrusted(report) {
        return Some(format!("its signer is NOT TRUSTED: {TRUST}"));
    }
    (report.verdict == Verdict::Torn && report.signature.is_none()).then(|| UNCOVERED.to_owned())
}

/// Whether it is signed, and by somebody who is not trusted.
fn is_untrusted(report: &Report) -> bool {
    report.signature.as_ref().is_some_and(|signature| signature.trusted_by.is_none())
}

pub(super) fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Good => Exit::Done,
        Verdict::Unreadable => Exit::Failed,
        Verdict::Tampered => Exit::Tampered,
        Verdict::Torn => Exit::Torn,
        Verdict::Untrusted => Exit::Untrusted,
    }
}
