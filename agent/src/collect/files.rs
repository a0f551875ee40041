//! Files that the chosen definitions name: their content, and of all of them the attributes in `files.jsonl`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found, Miss, read_bounded};
use super::content::{self, Bound, Known};
use super::file::{regular, reopen};
use super::findings::File;
use super::log::is_log;
use super::matching::Matching;
use super::passwd::homes;
use super::system::Attributes;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::definitions::{self, Definition, Library, Source};
use crate::text::{self, Bytes};

/// Entries that are looked at, and files and bytes that are taken.
const ENTRIES_MAX: usize = 1_000_000;
const FILES_MAX: usize = 50_000;
const BYTES_MAX: u64 = 4 << 30;
/// Bytes of a file of definitions, and files in one folder of them.
const DEFINITIONS_MAX: u64 = 1 << 20;
const FOLDER_MAX: usize = 1_000;

/// Where a distribution's and the administrator's definitions are; the later ones win.
const FOLDERS: [&[u8]; 2] = [b"/usr/share/afterimage/artifacts", b"/etc/afterimage/artifacts"];

/// One path that definitions named.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: Bytes,
    /// Which definitions.
    artifacts: &'a [&'a str],
    #[serde(flatten)]
    file: File,
}

/// A link, and where it leads.
#[derive(Debug, Serialize)]
struct Link {
    path: Bytes,
    kind: &'static str,
    target: Bytes,
}

/// A path in the making.
#[derive(Debug)]
struct Wanted<'a> {
    artifacts: Vec<&'a str>,
    /// Whether its content is wanted.
    content: bool,
    attributes: Attributes,
}

/// All that is wanted.
#[derive(Debug, Default)]
struct All<'a> {
    paths: BTreeMap<Vec<u8>, Wanted<'a>>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    refused: BTreeMap<Vec<u8>, Miss>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    // Logs and the kernel come after this.
    let until = Instant::now() + (left / 2).min(Duration::from_mins(5));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let library = library(&mut walker, attempts)?;
    let chosen = library.choose(&context.plan.artifacts);
    for name in &chosen.unknown {
        attempts.miss(format!("artifact {name}"), Miss::refused("no definition has this name"))?;
    }
    let homes: Vec<Vec<u8>> =
        std::iter::once(b"/root".to_vec()).chain(homes(&walker).into_iter().map(|user| user.home)).collect();
    let all = look(&chosen.definitions, &homes, &mut walker);
    attempts.expect(all.paths.values().filter(|one| one.content).count());
    for (path, miss) in &all.refused {
        attempts.miss(text::escape(path), miss.clone())?;
    }
    take_all(context, &all, &walker, attempts)?;
    listing(&all, walker.miss(), attempts)
}

fn look<'a>(definitions: &[&'a Definition], homes: &[Vec<u8>], walker: &mut Walker) -> All<'a> {
    let mut all = All::default();
    for definition in definitions {
        for source in &definition.sources {
            let (patterns, content) = match source {
                Source::Files(patterns) => (patterns, true),
                Source::Paths(patterns) => (patterns, false),
                // Programs of the host are not run: what they would say is read from the kernel by other collections.
                Source::Group(_) | Source::Command(_) => continue,
            };
            let mut matching = Matching::new(walker, homes);
            for pattern in patterns {
                matching.look(pattern);
            }
            let Matching { found, links, refused, .. } = matching;
            all.links.extend(links);
            all.refused.extend(refused);
            for (path, attributes) in found {
                let is_log = is_log(&path);
                let new = Wanted { artifacts: Vec::new(), content: false, attributes };
                let one = all.paths.entry(path).or_insert(new);
                one.content |= content && !attributes.is_dir() && !is_log;
                if !one.artifacts.contains(&definition.name.as_str()) {
                    one.artifacts.push(&definition.name);
                }
            }
        }
    }
    all
}

/// Our own definitions, those of the host's folders, and what is wrong with any.
fn library(walker: &mut Walker, attempts: &mut Attempts<'_>) -> Result<Library, Error> {
    let mut library = Library::own();
    for folder in FOLDERS {
        let Ok(entry) = walker.resolve(folder) else { continue };
        let Ok(names) = walker.names(&entry.fd) else { continue };
        let mut names: Vec<Vec<u8>> = names.into_iter().map(|(name, _)| name.into_bytes()).collect();
        names.retain(|name| name.ends_with(b".yaml"));
        names.sort_unstable();
        for name in names.into_iter().take(FOLDER_MAX) {
            let path = [folder, b"/", &name].concat();
            let text = walker.resolve(&path).and_then(|entry| {
                regular(&entry.fd, &walker.remote)?;
                read_bounded(reopen(&entry.fd)?, DEFINITIONS_MAX).map_err(|error| Miss::at("read", &error))
            });
            let loaded = match text {
                Ok((text, true)) => definitions::load(&text),
                Ok((_, false)) => {
                    let words = format!("more than {DEFINITIONS_MAX} bytes of definitions");
                    attempts.miss(text::escape(&path), Miss::refused(words))?;
                    continue;
                }
                Err(miss) => {
                    attempts.miss(text::escape(&path), miss)?;
                    continue;
                }
            };
            for refused in loaded.refused {
                let words = format!("line {}: {}", refused.line, refused.reason);
                attempts.miss(text::escape(&path), Miss::refused(words))?;
            }
            library.add(loaded.definitions);
        }
    }
    Ok(library)
}

fn take_all(
    context: &mut Context<'_>,
    all: &All<'_>,
    walker: &Walker,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let (mut files, mut left, mut over) = (0, BYTES_MAX, None);
    for (path, one) in all.paths.iter().filter(|(_, one)| one.content) {
        if let Some(name) = context.copied.get(path) {
            attempts.same(text::escape(path), name)?;
            continue;
        }
        if files >= FILES_MAX || (left == 0 && one.attributes.size > 0) {
            over.get_or_insert((0_u64, path)).0 += 1;
            continue;
        }
        files += 1;
        let subject = text::escape(path);
        let found = walker.find(path).and_then(|entry| Ok((regular(&entry.fd, &walker.remote)?, entry)));
        let (attributes, entry) = match found {
            Ok(found) => found,
            Err(miss) => {
                attempts.miss(subject, miss)?;
                continue;
            }
        };
        let lack = (attributes.inode != one.attributes.inode || attributes.device != one.attributes.device)
            .then(content::replaced);
        let room = attempts.room();
        let bound = Bound { bytes: room.file.min(room.bytes).min(left), outcome: Outcome::Partial };
        let called = |suffix: &str| Name::file(&["files"], &[path, suffix.as_bytes()].concat());
        let known = Known { note: None, lack };
        let taken = content::take_as(attempts, &subject, &called, &entry.fd, &attributes, bound, known)?;
        left = left.saturating_sub(room.bytes.saturating_sub(attempts.room().bytes));
        if let Some(name) = taken {
            context.copied.insert(path.clone(), name);
        }
    }
    let Some((count, first)) = over else { return Ok(()) };
    let subject = format!("{count} more files, the first of them {}", text::escape(first));
    attempts.miss(subject, Miss::new(Outcome::OverBudget, "enough files were taken"))
}

/// `files.jsonl`: who named what, and the attributes it had before it was read.
fn listing(all: &All<'_>, lack: Option<Miss>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    attempts.take("list of files", &Name::data(&["files.jsonl"]), |_| {
        let mut lines = Vec::new();
        for (path, one) in &all.paths {
            let (path, file) = (Bytes::from(path), File::from(&one.attributes));
            line(&mut lines, &Row { path, artifacts: &one.artifacts, file })?;
        }
        for (path, target) in &all.links {
            line(&mut lines, &Link { path: Bytes::from(path), kind: "link", target: Bytes::from(target) })?;
        }
        Ok(Found::bytes(lines).lacking(lack))
    })?;
    Ok(())
}

fn line(lines: &mut Vec<u8>, row: &impl Serialize) -> Result<(), Miss> {
    serde_json::to_writer(&mut *lines, row)
        .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
    lines.push(b'\n');
    Ok(())
}

#[cfg(test)]
#[path = "files_test.rs"]
mod tests;
