//! How the probe came to see what it sees: this travels with the evidence.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole account.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `uname -r`.
    pub kernel_release: String,
    /// Of the type information the offsets come from.
    pub btf_sha256: String,
    /// Of the probe's object.
    pub probe_sha256: String,
    /// Inode number of the PID namespace whose processes are shown.
    pub pid_namespace: u32,
    /// How deep that namespace is; 0 is the whole host. `None` before the first exec was seen in it.
    pub pid_namespace_level: Option<u32>,
    /// Offsets (for a structure's name alone: its size) in bytes, by path.
    pub offsets: BTreeMap<&'static str, u32>,
    /// Fields this kernel does not have, or has in a form that is not understood, in words.
    pub refused_fields: Vec<String>,
    /// Each program.
    pub programs: Vec<ProgramReport>,
    /// Numbers of the maps in the kernel, by name (`bpftool map show id N`).
    pub maps: BTreeMap<String, u32>,
}

/// One program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramReport {
    /// Its name in the object.
    pub name: &'static str,
    /// What it shows, in words.
    pub shows: &'static str,
    /// Where it is attached.
    pub hook: &'static str,
    /// The program that shows the same where this one cannot be attached.
    pub instead: Option<&'static str>,
    /// What became of it.
    pub fate: Fate,
    /// Its number in the kernel while it runs (`bpftool prog show id N`).
    pub id: Option<u32>,
    /// What the self-check found: what was compared, or why it could not be.
    pub self_check: Option<String>,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Fate {
    /// It runs, and the self-check agreed with /proc as far as it could look.
    Attached,
    /// It is loaded; a thread is about to attach it.
    Attaching,
    /// It does not run, and why.
    Missing(String),
    /// It ran, disagreed with /proc in this, and was taken off.
    Detached(String),
    /// Another program shows the same, at less cost.
    Unneeded,
}

impl Report {
    /// Whether the program called `name` runs.
    pub fn is_attached(&self, name: &str) -> bool {
        self.programs.iter().any(|program| program.name == name && program.fate == Fate::Attached)
    }

    /// What is not seen, in words, one sentence each; what a substitute shows is seen.
    pub fn blind_spots(&self) -> Vec<String> {
        let words = |program: &ProgramReport| match &program.fate {
            Fate::Missing(_) if program.instead.is_some() => None,
            Fate::Missing(reason) => Some(format!("not seen: {} ({reason})", program.shows)),
            Fate::Detached(reason) => Some(format!("not believed: {} ({reason})", program.shows)),
            Fate::Attached | Fate::Attaching | Fate::Unneeded => None,
        };
        let mut spots: Vec<String> = self.programs.iter().filter_map(words).collect();
        if self.programs.iter().any(|program| program.fate == Fate::Attaching) {
            spots.push("not seen yet: some of what processes ask the kernel for (being attached)".to_owned());
        }
        spots
    }
}
