//! YAML text into definitions. A document that is not one is refused, with its line; the others of the file are used.

use serde::Deserialize;

use super::pattern::Pattern;
use super::{Definition, Source};

/// Documents of one file, and bytes of one document.
const DOCUMENTS_MAX: usize = 10_000;
const DOCUMENT_MAX: usize = 256 << 10;
/// Brackets of one document: the time that a parser needs grows with the square of how deep they stand.
const BRACKETS_MAX: usize = 4096;
/// Systems that the format knows.
const SYSTEMS: [&str; 6] = ["Android", "Darwin", "ESXi", "Linux", "Windows", "iOS"];

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Its definitions, in order.
    pub definitions: Vec<Definition>,
    /// What is not one.
    pub refused: Vec<Refused>,
    /// Documents in all.
    pub documents: usize,
}

/// A document that is no definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The line of the file where the trouble is, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a file.
pub fn load(text: &[u8]) -> Loaded {
    let mut loaded = Loaded::default();
    for (first, document) in documents(text) {
        if loaded.documents >= DOCUMENTS_MAX {
            let reason = format!("more than {DOCUMENTS_MAX} documents; the rest is not read");
            loaded.refused.push(Refused { line: first, reason });
            break;
        }
        match definition(&document) {
            Ok(None) => continue,
            Ok(Some(definition)) => loaded.definitions.push(definition),
            Err((line, reason)) => loaded.refused.push(Refused { line: first + line, reason }),
        }
        loaded.documents += 1;
    }
    loaded
}

/// The documents, each with the number of its first line. They are parted before they are parsed: what is wrong with one
/// does not touch the next.
fn documents(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut all = vec![(1, Vec::new())];
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii_end() == b"---" {
            all.push((number + 2, Vec::new()));
        } else if let Some((_, document)) = all.last_mut() {
            document.extend_from_slice(line);
        }
    }
    all
}

/// One document; `None` for one of comments only. An error has the line within the document, from 0.
fn definition(document: &[u8]) -> Result<Option<Definition>, (usize, String)> {
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty() || line.trim_ascii().starts_with(b"#");
    if document.split(|&byte| byte == b'\n').all(is_blank) {
        return Ok(None);
    }
    if document.len() > DOCUMENT_MAX {
        return Err((0, format!("a definition of more than {DOCUMENT_MAX} bytes")));
    }
    if document.iter().filter(|byte| b"[{".contains(byte)).count() > BRACKETS_MAX {
        return Err((0, format!("a definition with more than {BRACKETS_MAX} brackets")));
    }
    let raw = parse(document).or_else(|failure| parse(&spaced(document)).map_err(|_| failure)).map_err(
        |failure| {
            let line = failure.location().map_or(0, |at| at.line().saturating_sub(1));
            (line, failure.to_string())
        },
    )?;
    raw.checked().map(Some).map_err(|reason| (0, reason))
}

fn parse(text: &[u8]) -> Result<Raw, serde_yaml_ng::Error> {
    serde_yaml_ng::from_slice(text)
}

/// The same with a space in `paths:[` and `names:[`: the format's own reader (PyYAML) does without, and so does one of
/// the published definitions (CUPS, 2026).
fn spaced(document: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(document);
    text.replace("paths:[", "paths: [").replace("names:[", "names: [").into_bytes()
}

/// A document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    doc: String,
    sources: Vec<RawSource>,
    #[serde(default)]
    supported_os: Vec<String>,
    /// What follows says nothing of where anything is found; the last four are out of use, but published.
    #[serde(default, rename = "urls")]
    _urls: Vec<String>,
    #[serde(default, rename = "conditions")]
    _conditions: serde::de::IgnoredAny,
    #[serde(default, rename = "labels")]
    _labels: serde::de::IgnoredAny,
    #[serde(default, rename = "provides")]
    _provides: serde::de::IgnoredAny,
    #[serde(default, rename = "collectors")]
    _collectors: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    supported_os: Vec<String>,
    #[serde(default, rename = "conditions")]
    _conditions: serde::de::IgnoredAny,
    #[serde(default, rename = "returned_types")]
    _returned_types: serde::de::IgnoredAny,
    #[serde(default, rename = "provides")]
    _provides: serde::de::IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    #[serde(default)]
    paths: Vec<String>,
    separator: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    cmd: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default, rename = "keys")]
    _keys: serde::de::IgnoredAny,
    #[serde(default, rename = "key_value_pairs")]
    _key_value_pairs: serde::de::IgnoredAny,
    #[serde(default, rename = "query")]
    _query: serde::de::IgnoredAny,
    #[serde(default, rename = "base_object")]
    _base_object: serde::de::IgnoredAny,
}

impl Raw {
    fn checked(self) -> Result<Definition, String> {
        if self.name.is_empty() || self.name.chars().any(|character| character.is_whitespace()) {
            return Err(format!("`{}` is not a name: it is one word", self.name.escape_debug()));
        }
        if self.sources.is_empty() {
            return Err(format!("{} has no sources", self.name));
        }
        let here = on_linux(&self.supported_os)?;
        let mut sources = Vec::new();
        for (number, source) in self.sources.into_iter().enumerate() {
            let source = source
                .checked(here)
                .map_err(|reason| format!("{}, source {}: {reason}", self.name, number + 1))?;
            sources.extend(source);
        }
        Ok(Definition { name: self.name, aliases: self.aliases, doc: self.doc, sources })
    }
}

impl RawSource {
    /// `None` for a source that Linux does not have; `here` says whether it has the definition.
    fn checked(self, here: bool) -> Result<Option<Source>, String> {
        let here = on_linux(&self.supported_os)? && here;
        let Attributes { paths, separator, names, cmd, args, .. } = self.attributes;
        let needed = |is_there: bool, what: &str| {
            if is_there { Ok(()) } else { Err(format!("a source of the type {} needs {what}", self.kind)) }
        };
        let source = match self.kind.as_str() {
            "FILE" | "PATH" | "DIRECTORY" => {
                needed(!paths.is_empty(), "paths")?;
                if !here || separator.is_some_and(|separator| separator != "/") {
                    return Ok(None);
                }
                // A pattern that only other systems can have does not spoil the others.
                let patterns: Vec<_> =
                    paths.iter().filter_map(|path| usable(path)).collect::<Result<_, _>>()?;
                match self.kind.as_str() {
                    "FILE" => Source::Files(patterns),
                    _ => Source::Paths(patterns),
                }
            }
            "ARTIFACT_GROUP" => {
                needed(!names.is_empty(), "names")?;
                Source::Group(names)
            }
            "COMMAND" => {
                let program = cmd.unwrap_or_default();
                needed(!program.is_empty(), "cmd")?;
                Source::Command(std::iter::once(program).chain(args).collect::<Vec<_>>().join(" "))
            }
            "REGISTRY_KEY" | "REGISTRY_VALUE" | "WMI" => return Ok(None),
            other => return Err(format!("`{}` is not a type of source", other.escape_debug())),
        };
        Ok(Some(source).filter(|_| here))
    }
}

/// A pattern, if a Linux host can have what it means.
fn usable(path: &str) -> Option<Result<Pattern, String>> {
    use super::pattern::Error;
    match Pattern::parse(path.as_bytes()) {
        Ok(pattern) => Some(Ok(pattern)),
        Err(Error::Variable(_) | Error::NotAbsolute) if path.contains("%%") || path.contains('\\') => None,
        Err(error) => Some(Err(format!("`{}`: {error}", path.escape_debug()))),
    }
}

/// Whether Linux is among these systems; all are meant where none is named.
fn on_linux(systems: &[String]) -> Result<bool, String> {
    if let Some(unknown) = systems.iter().find(|system| !SYSTEMS.contains(&system.as_str())) {
        return Err(format!("`{}` is not a system that is known", unknown.escape_debug()));
    }
    Ok(systems.is_empty() || systems.iter().any(|system| system == "Linux"))
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
