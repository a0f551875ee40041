//! `afterimage artifacts`: which files a capture takes, and whether somebody's own definitions are right.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Error, Exit};
use crate::definitions::{self, Definition, Library, Source};

/// Bytes of one file of definitions.
const FILE_MAX: u64 = 1 << 20;

/// Shows which files a capture takes (ForensicArtifacts definitions), and checks your own.
#[derive(Debug, clap::Subcommand)]
pub enum ArtifactsCommand {
    /// Lists the definitions that the program brings along, or those of one group.
    List {
        /// A group, as for `capture --artifacts`: triage, web-server, ssh, persistence, miner, container, cloud, full.
        group: Option<String>,
    },
    /// Checks YAML files, or all of a directory, as a capture would read them.
    #[command(
        after_help = "A capture reads /usr/share/afterimage/artifacts/*.yaml and /etc/afterimage/artifacts/*.yaml; the \
                            later definition of a name wins. The published ones (github.com/ForensicArtifacts/artifacts, \
                            Debian's forensic-artifacts) can be laid there as they are."
    )]
    Check {
        /// Files, or directories of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Prints. A definition that is wrong ends with exit status 2.
pub fn run(command: &ArtifactsCommand, context: &Context) -> Result<Exit, Error> {
    match command {
        ArtifactsCommand::List { group } => list(group.as_deref(), context),
        ArtifactsCommand::Check { paths } => check(paths, context),
    }
}

fn list(group: Option<&str>, context: &Context) -> Result<Exit, Error> {
    let library = Library::own();
    let definitions: Vec<&Definition> = match group {
        None => library.iter().collect(),
        Some(name) if library.get(name).is_none() => {
            return Err(Error::usage(format!("no definition or group is called {name}")));
        }
        Some(name) => library.choose(&[name]).definitions,
    };
    if context.json {
        let row = |one: &&Definition| json!({ "name": one.name, "aliases": one.aliases, "doc": one.doc.trim(), "patterns": patterns(one) });
        context.print_json(&definitions.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    for one in definitions {
        let group = one.aliases.first().map(|alias| format!(" ({alias})")).unwrap_or_default();
        writeln!(out, "{:<36} {:>3}  {}", format!("{}{group}", one.name), patterns(one), one.doc.trim())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn patterns(definition: &Definition) -> usize {
    let count = |source: &Source| match source {
        Source::Files(patterns) | Source::Paths(patterns) => patterns.len(),
        Source::Group(_) | Source::Command(_) => 0,
    };
    definition.sources.iter().map(count).sum()
}

fn check(paths: &[PathBuf], context: &Context) -> Result<Exit, Error> {
    let (mut documents, mut linux, mut expanded) = (0, 0, 0);
    let mut refused = Vec::new();
    let mut library = Library::default();
    for file in files(paths)? {
        let loaded = definitions::load(&read(&file)?);
        documents += loaded.documents;
        linux += loaded.definitions.iter().filter(|one| !one.sources.is_empty()).count();
        expanded += loaded.definitions.iter().map(patterns).sum::<usize>();
        refused.extend(loaded.refused.into_iter().map(|refused| (file.clone(), refused)));
        library.add(loaded.definitions);
    }
    let names: Vec<String> = library.iter().map(|one| one.name.clone()).collect();
    // A group may also name one of ours.
    let mut with_ours = Library::own();
    with_ours.add(library.iter().cloned().collect());
    let unknown = with_ours.choose(&names).unknown;
    if context.json {
        let refused: Vec<_> = refused
            .iter()
            .map(|(file, one)| json!({ "file": file.display().to_string(), "line": one.line, "reason": one.reason }))
            .collect();
        context.print_json(&json!({
            "documents": documents, "for_linux": linux, "patterns": expanded, "refused": refused, "unknown_names": unknown,
        }))?;
    } else {
        let mut out = context.out();
        for (file, one) in &refused {
            writeln!(out, "{}:{}: {}", file.display(), one.line, one.reason)?;
        }
        for name in &unknown {
            writeln!(out, "note: a group names {name}, which is not defined (here)")?;
        }
        writeln!(
            out,
            "{documents} definitions, {linux} of them for Linux with {expanded} patterns; {} refused",
            refused.len()
        )?;
        out.flush()?;
    }
    Ok(if refused.is_empty() { Exit::Done } else { Exit::Usage })
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fail =
            |failure: io::Error| Error::usage(format!("read the directory {}: {failure}", path.display()));
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let file = entry.map_err(fail)?.path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text))
        .map_err(|failure| Error::usage(format!("read {}: {failure}", path.display())))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_MAX) {
        return Err(Error::usage(format!("{} is larger than {FILE_MAX} bytes", path.display())));
    }
    Ok(text)
}
