//! Code, wherever it is: what each executable page of a process came from, the files behind it, and where memory is not
//! what the file is. Processes are looked at while they run; that a page was executable once cannot be seen.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::content::Key;
use super::mounted::Sight;
use super::procdir::ProcDir;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::history::policy;
use crate::plan::InScope;
use crate::text::{self, Bytes};

mod compiler;
mod differences;
mod files;
mod finding;
mod library;
mod look;
mod pages;

use files::{Files, Mapped};
use finding::{Finding, Findings, Judged};
use look::{Process, Seen, own_vdso};
use pages::Row;

const NOT_KNOWN: &[&str] = &[
    "the process ran while it was looked at: pages may have changed between two looks",
    "a page that was executable once and is not any more looks like any other",
    "a page that is the file's own is what a reader of the file gets, whatever a package once brought",
];

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<InScope> = context.plan.scope.iter().filter(|one| one.exe).cloned().collect();
    attempts.expect(scope.len() + 1);
    let places = &context.job.places;
    let mut code = Code {
        files: Files::new(places, context.plan.libraries),
        vdso: own_vdso(),
        findings: Findings::default(),
    };
    let sight = Sight::new(&places.proc);
    for one in &scope {
        code.process(one, context.pinned.get(one.id), &sight, &mut context.taken, attempts)?;
    }
    code.findings.finish(attempts)
}

/// What all processes share.
struct Code {
    files: Files,
    vdso: Option<Vec<u8>>,
    findings: Findings,
}

/// `code.json`.
#[derive(Serialize)]
struct Report<'a> {
    /// Who compiles in this process while it runs, as far as that is known.
    compiler: Option<&'static str>,
    mappings: Vec<Row>,
    files: Vec<Mapped>,
    not_known: &'a [&'static str],
}

impl Code {
    fn process(
        &mut self,
        one: &InScope,
        dir: Result<Arc<ProcDir>, Miss>,
        sight: &Sight,
        taken: &mut HashMap<Key, Name>,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let short = one.id.short();
        let subject = format!("{short} code");
        let dir = match dir {
            Ok(dir) if dir.is_agent() => {
                return attempts.miss(subject, Miss::refused("it is a process of the agent itself"));
            }
            Ok(dir) if dir.stat.is_kernel_thread() => {
                return attempts.miss(subject, Miss::refused("a kernel thread has no code of its own"));
            }
            Ok(dir) => dir,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let process = match Process::new(&dir, sight) {
            Ok(process) => process,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let (mut seen, lack) = match process.look() {
            Ok(found) => found,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let process = process.which_way(&seen, attempts)?;
        let files = self.files.of(&process, &mut seen, taken, attempts)?;
        process.compare_vdso(&mut seen, self.vdso.as_deref(), attempts);
        let gone = dir.check().err();
        let compiler = files.iter().find_map(compiler_of);
        let executable = Bytes(dir.link("exe").unwrap_or_default());
        for one in &seen {
            let artifact = one.row.file.and_then(|at| files.get(at)?.artifact.clone());
            // What could not be read of a process that has gone says nothing about it.
            let changed =
                one.is_changed() && (gone.is_none() || one.row.differing.is_some_and(|bytes| bytes > 0));
            self.judge(&process.short, &executable, one, changed, compiler.is_some(), artifact);
        }
        let hashed = files.iter().filter(|file| file.sha256.is_some()).count();
        let mappings = seen.into_iter().map(|one| one.row).collect();
        let report = Report { compiler, mappings, files, not_known: NOT_KNOWN };
        let name = Name::data(&["process", &process.short, "code.json"]);
        attempts.take(subject, &name, |_| {
            let found = Found::json(&report)?.lacking(gone).lacking(lack);
            Ok(if hashed > 0 {
                found.noting(format!("{hashed} files by their hash only, as packages brought them"))
            } else {
                found
            })
        })?;
        Ok(())
    }

    fn judge(
        &mut self,
        short: &str,
        executable: &Bytes,
        one: &Seen,
        changed: bool,
        compiler: bool,
        artifact: Option<Name>,
    ) {
        let reasons = finding::reasons(&Judged {
            kind: one.row.kind,
            write: one.mapping.write,
            changed,
            comparison: one.comparison.as_ref(),
            first: &one.first,
            compiler,
        });
        if reasons.is_empty() {
            return;
        }
        self.findings.add(Finding {
            process: short.to_owned(),
            executable: executable.clone(),
            start: one.mapping.start,
            end: one.mapping.end,
            permissions: one.row.permissions.clone(),
            kind: one.row.kind,
            path: one.mapping.path.clone(),
            reasons: reasons.into_iter().map(Into::into).collect(),
            artifact,
            first: text::hex(&one.first),
            present: one.row.pages.iter().map(|run| run.end - run.start).sum(),
            text: one.comparison.clone().filter(|comparison| comparison.bytes > 0),
        });
    }
}

/// Who compiles at run time, if this is such a file, in a place where not everybody can put one.
fn compiler_of(file: &Mapped) -> Option<&'static str> {
    let path = file.path.as_slice();
    let named = file.links.is_some_and(|links| links > 0) && !policy::is_temporary(path);
    named.then(|| compiler::known(path)).flatten()
}

#[cfg(test)]
#[path = "code_test.rs"]
mod tests;
