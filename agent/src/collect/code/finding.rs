//! What is worth a look among executable mappings: one finding per mapping, with all its reasons. The judging is pure.

use serde::Serialize;

use super::differences::Comparison;
use super::pages::Kind;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::collect::attempts::{Attempts, Found, Miss};
use crate::collect::segments::hexadecimal;
use crate::text::Bytes;

/// Findings of one capture, and of one process, so that it does not hide the others'; more are counted.
const FINDINGS_MAX: usize = 20_000;
const OF_ONE_MAX: usize = 1_000;

/// What an ELF file begins with.
const ELF: &[u8] = b"\x7fELF";

/// Why it is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    TextChanged,
    ChangedNotCompared,
    VdsoChanged,
    WritableAndExecutable,
    AnonymousExecutable,
    SharedMemoryExecutable,
    StackExecutable,
    HeapExecutable,
    MemfdExecutable,
    DeletedExecutable,
    ElfWithoutFile,
}

impl What {
    /// What it says, and what else than an attack is the cause of it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TextChanged => (
                "its text in memory is not that of its file",
                "breakpoints of a debugger and uprobes (one byte, cc), relocations in the text of a library that was \
                 not built position-independent (DT_TEXTREL), programs that patch themselves (LTTng, hot patches), a \
                 file that was overwritten in place",
            ),
            Self::ChangedNotCompared => (
                "pages of its text were written to, and there is nothing to compare them with",
                "as for text_changed",
            ),
            Self::VdsoChanged => (
                "the kernel's own code in this process is not that of other processes",
                "breakpoints of a debugger; checkpointing (CRIU), rr and gVisor replace its functions",
            ),
            Self::WritableAndExecutable => (
                "memory that can be written and executed",
                "compilers at run time, closures of libffi, regular expressions (PCRE2), old programs that ask for an \
                 executable stack (READ_IMPLIES_EXEC)",
            ),
            Self::AnonymousExecutable => (
                "executable memory without a file, in a program that is not known to compile while it runs",
                "compilers at run time that are not known here, closures of libffi, regular expressions (PCRE2)",
            ),
            Self::SharedMemoryExecutable => {
                ("executable shared memory", "compilers that map their code twice")
            }
            Self::StackExecutable => {
                ("an executable stack", "programs linked with -z execstack, nested functions of GCC")
            }
            Self::HeapExecutable => ("an executable heap", "old programs that ask for READ_IMPLIES_EXEC"),
            Self::MemfdExecutable => (
                "code from a memfd: it never was on a disk",
                "runc (its own copy), compilers that map their code twice (.NET), closures of libffi",
            ),
            Self::DeletedExecutable => (
                "code of a file that has no name any more",
                "a package that was upgraded while the program ran",
            ),
            Self::ElfWithoutFile => (
                "a whole program or library in memory without a file",
                "loaders that read libraries themselves",
            ),
        }
    }
}

/// What is known of one executable mapping.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) kind: Kind,
    pub(super) write: bool,
    /// Whether pages of it were written to.
    pub(super) changed: bool,
    pub(super) comparison: Option<&'a Comparison>,
    /// The first bytes that are there.
    pub(super) first: &'a [u8],
    /// Whether the process compiles while it runs.
    pub(super) compiler: bool,
}

/// Why it is worth a look; nothing, if it is not.
pub(super) fn reasons(one: &Judged<'_>) -> Vec<What> {
    let mut found = Vec::new();
    let no_file =
        matches!(one.kind, Kind::Anonymous | Kind::Heap | Kind::Stack | Kind::SharedMemory | Kind::Memfd);
    let compiled = one.compiler && no_file;
    if one.changed {
        match (one.comparison, one.kind) {
            (Some(same), _) if same.bytes == 0 && same.unread == 0 => {}
            (Some(found_different), Kind::Vdso) if found_different.bytes > 0 => found.push(What::VdsoChanged),
            // A compiler writes into its own mapping.
            _ if compiled => {}
            (Some(different), _) if different.bytes > 0 => found.push(What::TextChanged),
            _ => found.push(What::ChangedNotCompared),
        }
    }
    if one.write && !compiled {
        found.push(What::WritableAndExecutable);
    }
    match one.kind {
        Kind::DeletedFile => found.push(What::DeletedExecutable),
        Kind::Stack => found.push(What::StackExecutable),
        Kind::Heap => found.push(What::HeapExecutable),
        _ if compiled => {}
        Kind::Anonymous => found.push(What::AnonymousExecutable),
        Kind::SharedMemory => found.push(What::SharedMemoryExecutable),
        Kind::Memfd => found.push(What::MemfdExecutable),
        Kind::File | Kind::Vdso | Kind::Kernel => {}
    }
    if no_file && one.kind != Kind::Memfd && one.first.starts_with(ELF) {
        found.push(What::ElfWithoutFile);
    }
    found
}

/// One mapping that is worth a look.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Pid and start time.
    pub(super) process: String,
    pub(super) executable: Bytes,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) start: u64,
    #[serde(serialize_with = "hexadecimal")]
    pub(super) end: u64,
    pub(super) permissions: String,
    pub(super) kind: Kind,
    pub(super) path: Bytes,
    pub(super) reasons: Vec<Reason>,
    /// Its file in the bundle.
    pub(super) artifact: Option<Name>,
    /// Of a mapping that is no file's: the first bytes that are in memory, in hexadecimal.
    pub(super) first: String,
    /// Bytes of it that are in memory.
    pub(super) present: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Comparison>,
}

#[derive(Debug, Serialize)]
pub(super) struct Reason {
    what: What,
    meaning: &'static str,
    /// What else can be the cause of it.
    benign_causes: &'static str,
}

impl From<What> for Reason {
    fn from(what: What) -> Self {
        let (meaning, benign_causes) = what.words();
        Self { what, meaning, benign_causes }
    }
}

/// All findings of a capture.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
    /// Of the process that was looked at last.
    of_one: usize,
    dropped: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        let another = self.all.last().is_none_or(|last| last.process != finding.process);
        self.of_one = if another { 0 } else { self.of_one };
        if self.all.len() < FINDINGS_MAX && self.of_one < OF_ONE_MAX {
            self.of_one += 1;
            self.all.push(finding);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// `code/findings.json`, also when there are none.
    pub(super) fn finish(&self, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        let Self { all, dropped, .. } = self;
        attempts.take("findings in code", &Name::data(&["code", "findings.json"]), |_| {
            let many = (*dropped > 0).then(|| Miss::partial(format!("{dropped} findings were too many")));
            Ok(Found::json(all)?.lacking(many))
        })?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "finding_test.rs"]
mod tests;
