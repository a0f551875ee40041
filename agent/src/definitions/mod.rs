//! Which files an investigator wants, as data: definitions in the format of ForensicArtifacts
//! (<https://artifacts.readthedocs.io>), the published ones and our own. Pure.

use std::collections::{BTreeMap, BTreeSet};

pub mod load;
pub mod pattern;

pub use load::{Loaded, Refused, load};
pub use pattern::Pattern;

/// Our own definitions, by file; a file of the same name in one of the folders takes its place.
pub const OWN: &[(&str, &str)] = &[
    ("groups.yaml", include_str!("../../../packaging/artifacts/groups.yaml")),
    ("linux.yaml", include_str!("../../../packaging/artifacts/linux.yaml")),
];

/// Groups within groups.
const NESTED_MAX: usize = 16;

/// One definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, unique.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What it is, in words.
    pub doc: String,
    /// Where it is found on Linux; empty for what other systems have only.
    pub sources: Vec<Source>,
}

/// Where something is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files.
    Files(Vec<Pattern>),
    /// Directories, and other paths of which only the attributes are wanted.
    Paths(Vec<Pattern>),
    /// Other definitions.
    Group(Vec<String>),
    /// What a program prints; never run by us.
    Command(String),
}

/// All definitions that are known.
#[derive(Clone, Debug, Default)]
pub struct Library {
    all: BTreeMap<String, Definition>,
    aliases: BTreeMap<String, String>,
}

/// The definitions that names stand for.
#[derive(Debug, Default)]
pub struct Chosen<'a> {
    /// Each once, in the order in which they are named.
    pub definitions: Vec<&'a Definition>,
    /// Names that stand for nothing.
    pub unknown: BTreeSet<String>,
}

impl Library {
    /// What the program brings along.
    pub fn own() -> Self {
        let mut library = Self::default();
        for (_, text) in OWN {
            library.add(load(text.as_bytes()).definitions);
        }
        library
    }

    /// Adds definitions; one of a known name takes the other's place.
    pub fn add(&mut self, definitions: Vec<Definition>) {
        for definition in definitions {
            for alias in &definition.aliases {
                self.aliases.insert(alias.clone(), definition.name.clone());
            }
            self.all.insert(definition.name.clone(), definition);
        }
    }

    /// One definition, by its name or an alias.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.all.get(name).or_else(|| self.all.get(self.aliases.get(name)?))
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.all.values()
    }

    /// What `names` stand for, groups resolved.
    pub fn choose<S: AsRef<str>>(&self, names: &[S]) -> Chosen<'_> {
        let mut chosen = Chosen::default();
        let mut seen = BTreeSet::new();
        for name in names {
            self.resolve(name.as_ref(), 0, &mut seen, &mut chosen);
        }
        chosen
    }

    fn resolve<'a>(
        &'a self,
        name: &str,
        depth: usize,
        seen: &mut BTreeSet<&'a str>,
        chosen: &mut Chosen<'a>,
    ) {
        let Some(definition) = self.get(name).filter(|_| depth < NESTED_MAX) else {
            chosen.unknown.insert(name.to_owned());
            return;
        };
        // Groups may name each other in a circle.
        if !seen.insert(&definition.name) {
            return;
        }
        chosen.definitions.push(definition);
        for source in &definition.sources {
            let Source::Group(names) = source else { continue };
            for name in names {
                self.resolve(name, depth + 1, seen, chosen);
            }
        }
    }
}

#[cfg(test)]
#[path = "definitions_test.rs"]
mod tests;
