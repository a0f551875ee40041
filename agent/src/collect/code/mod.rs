//! Code, wherever it is: what each executable page of a process came from, the files behind it, and where memory is not
//! what the file is. Processes are looked at while they run; that a page was executable once cannot be seen.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use super::content::{self, Key, key};
use super::memory::page_size;
use super::mounted::Sight;
use super::procdir::ProcDir;
use super::system::Attributes;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::history::packages::Packages;
use crate::history::policy::{self, Odd};
use crate::plan::{InScope, Libraries};
use crate::proc::Mapping;
use crate::text::{self, Bytes};

mod compiler;
mod differences;
mod finding;
mod library;
mod look;
mod pages;

use finding::{Finding, Findings, Judged};
use library::Way;
use look::{DIFFERENCES_MAX, Process, Seen, own_vdso};
use pages::Row;

/// A file that was changed so many seconds ago is taken, whoever it came with.
const RECENT_S: i64 = 600;

const NOT_KNOWN: &[&str] = &[
    "the process ran while it was looked at: pages may have changed between two looks",
    "a page that was executable once and is not any more looks like any other",
    "a page that is the file's own is what a reader of the file gets, whatever a package once brought",
];

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: Vec<InScope> = context.plan.scope.iter().filter(|one| one.exe).cloned().collect();
    attempts.expect(scope.len() + 1);
    super::deleted::hold(context);
    let places = &context.job.places;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut code = Code {
        proc: places.proc.clone(),
        root: places.root.clone(),
        policy: context.plan.libraries,
        packages: Packages::new(&places.root),
        now: i64::try_from(now).unwrap_or(i64::MAX),
        hashed: HashMap::new(),
        vdso: own_vdso(),
        findings: Findings::default(),
    };
    let sight = Sight::new(&code.proc);
    for one in &scope {
        code.process(one, context.pinned.get(one.id), &sight, &mut context.taken, attempts)?;
    }
    code.findings.finish(attempts)
}

/// What all processes share.
struct Code {
    proc: PathBuf,
    root: PathBuf,
    policy: Libraries,
    packages: Packages,
    now: i64,
    /// Files of packages whose hash is known.
    hashed: HashMap<Key, String>,
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

/// A mapped file.
#[derive(Debug, Default, Serialize)]
struct Mapped {
    path: Bytes,
    size: Option<u64>,
    device: (u32, u32),
    inode: u64,
    links: Option<u32>,
    /// Whether a package of the distribution brought it, and nobody has changed it since.
    package: bool,
    /// Where its bytes are in the bundle.
    artifact: Option<Name>,
    /// Of a file whose bytes are not taken, by policy.
    sha256: Option<String>,
    /// Why there is neither.
    missing: Option<String>,
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
        let (view, page) = (sight.of(&dir), page_size());
        let page = match page {
            Ok(page) => page,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let mem = dir.file("mem").map_err(|error| Miss::at("open mem", &error));
        let process = Process { dir: &dir, short, view, way: Way::Mapping, page, mem };
        let (mut seen, lack) = match process.look() {
            Ok(found) => found,
            Err(miss) => return attempts.miss(subject, miss),
        };
        let process = process.which_way(&seen, attempts)?;
        let files = self.files(&process, &mut seen, taken, attempts)?;
        process.compare_vdso(&mut seen, self.vdso.as_deref(), attempts);
        let compiler = files.iter().find_map(|file| {
            let path = file.path.as_slice();
            let named = file.links.is_some_and(|links| links > 0) && !policy::is_temporary(path);
            named.then(|| compiler::known(path)).flatten()
        });
        let executable = Bytes(dir.link("exe").unwrap_or_default());
        for one in &seen {
            let artifact = one.row.file.and_then(|at| files.get(at)?.artifact.clone());
            self.judge(&process.short, &executable, one, compiler.is_some(), artifact);
        }
        let hashed = files.iter().filter(|file| file.sha256.is_some()).count();
        let mappings = seen.into_iter().map(|one| one.row).collect();
        let report = Report { compiler, mappings, files, not_known: NOT_KNOWN };
        let name = Name::data(&["process", &process.short, "code.json"]);
        attempts.take(subject, &name, |_| {
            dir.check()?;
            let found = Found::json(&report)?.lacking(lack);
            Ok(if hashed > 0 {
                found.noting(format!("{hashed} files by their hash only, as packages brought them"))
            } else {
                found
            })
        })?;
        Ok(())
    }

    /// The files behind the mappings, each once: compared, and taken or hashed.
    fn files(
        &mut self,
        process: &Process<'_>,
        seen: &mut [Seen],
        taken: &mut HashMap<Key, Name>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Vec<Mapped>, Error> {
        let mut files = Vec::new();
        let mut known: HashMap<(Bytes, (u32, u32), u64), usize> = HashMap::new();
        let mut left = DIFFERENCES_MAX;
        for at in 0..seen.len() {
            let Some(Seen { mapping, row, .. }) = seen.get_mut(at).filter(|one| one.row.kind.has_file())
            else {
                continue;
            };
            let identity = (mapping.path.clone(), mapping.device, mapping.inode);
            if let Some(known) = known.get(&identity) {
                row.file = Some(*known);
                continue;
            }
            known.insert(identity, files.len());
            row.file = Some(files.len());
            let mut file = Mapped {
                path: mapping.path.clone(),
                device: mapping.device,
                inode: mapping.inode,
                ..Mapped::default()
            };
            let mapping = mapping.clone();
            match library::find(process.dir, &self.root, &mapping, process.way, &process.view) {
                Ok((path, attributes)) => {
                    let differs = process.compare(seen, &mapping, &path, &mut left, attempts);
                    self.take(process, &mapping, (&path, &attributes), differs, &mut file, taken, attempts)?;
                }
                Err(miss) => {
                    file.missing = Some(miss.detail.clone());
                    attempts.miss(process.subject(&mapping), miss)?;
                }
            }
            files.push(file);
        }
        Ok(files)
    }

    /// By the policy: its bytes, or its hash.
    #[expect(clippy::too_many_arguments, reason = "a file, what is known of it, and where it goes")]
    fn take(
        &mut self,
        process: &Process<'_>,
        mapping: &Mapping,
        (path, attributes): (&OwnedFd, &Attributes),
        differs: bool,
        file: &mut Mapped,
        taken: &mut HashMap<Key, Name>,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let name = mapping.path.as_slice();
        file.size = Some(attributes.size);
        file.links = Some(attributes.links);
        let odd = policy::odd(name, attributes, self.now, RECENT_S);
        file.package = attributes.links > 0 && self.packages.own(name, attributes);
        if let Some(artifact) = taken.get(&key(attributes)) {
            file.artifact = Some(artifact.clone());
            return Ok(());
        }
        // A package that was just installed is young, and its files are no less its own.
        let ordinary = file.package && odd.is_none_or(|odd| odd == Odd::Recent);
        if ordinary && !differs && self.policy == Libraries::Foreign {
            let hash = match self.hashed.get(&key(attributes)) {
                Some(hash) => Ok(hash.clone()),
                None => library::sha256(path, attempts.room().deadline),
            };
            match hash {
                Ok(hash) => {
                    self.hashed.insert(key(attributes), hash.clone());
                    file.sha256 = Some(hash);
                }
                Err(miss) => {
                    file.missing = Some(miss.detail.clone());
                    attempts.miss(process.subject(mapping), miss)?;
                }
            }
            return Ok(());
        }
        let base = name.strip_suffix(b" (deleted)").unwrap_or(name);
        let base = base.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let label = [format!("{:x}-", mapping.start).as_bytes(), base].concat();
        let folders = ["process", &process.short, "code"];
        let note = (attributes.links == 0).then(|| "its file has no name any more".to_owned());
        let subject = process.subject(mapping);
        file.artifact = content::take(attempts, &subject, &folders, &label, path, attributes, note)?;
        match &file.artifact {
            Some(name) => drop(taken.insert(key(attributes), name.clone())),
            None => file.missing = Some("see the attempt".to_owned()),
        }
        Ok(())
    }

    fn judge(&mut self, short: &str, executable: &Bytes, one: &Seen, compiler: bool, artifact: Option<Name>) {
        let reasons = finding::reasons(&Judged {
            kind: one.row.kind,
            write: one.mapping.write,
            changed: one.is_changed(),
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

#[cfg(test)]
#[path = "code_test.rs"]
mod tests;
