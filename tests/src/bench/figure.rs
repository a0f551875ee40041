//! One measured figure, its goal, and the table of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::world::OUT;

/// In [`OUT`], what the part measured.
const FILE: &str = "figures.json";

/// What was measured, and what it should be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Of what.
    pub what: String,
    /// The value, with its unit and spread, as it is shown.
    pub shown: String,
    /// The value; none where it could not be measured.
    pub value: Option<f64>,
    /// The goal: at most so much. Peers have none.
    pub at_most: Option<f64>,
    /// What a reader must know to believe it.
    pub note: String,
}

impl Figure {
    /// A figure without a goal or a note.
    pub fn new(what: impl Into<String>, value: f64, shown: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            shown: shown.into(),
            value: Some(value),
            at_most: None,
            note: String::new(),
        }
    }

    /// With a goal.
    pub fn at_most(self, goal: f64) -> Self {
        Self { at_most: Some(goal), ..self }
    }

    /// With a note.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// What could not be measured: said, never left out.
    pub fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { value: None, ..Self::new(what, 0.0, "not measured").note(why) }
    }

    fn verdict(&self) -> String {
        match (self.at_most, self.value) {
            (None, _) => String::new(),
            (Some(goal), Some(value)) if value <= goal => format!("at most {goal}: reached"),
            (Some(goal), _) => format!("at most {goal}: NOT reached"),
        }
    }
}

/// Leaves the figures where the world's maker finds them.
pub(super) fn leave(figures: &[Figure]) -> Result<()> {
    fs::write(Path::new(OUT).join(FILE), serde_json::to_vec(figures)?).context("leave the figures")
}

/// What a world has left in `folder`.
pub(super) fn collect(folder: &Path) -> Result<Vec<Figure>> {
    let text = fs::read(folder.join(FILE)).context("the world left no figures")?;
    Ok(serde_json::from_slice(&text)?)
}

/// Prints them all.
pub(super) fn print(figures: &[Figure]) {
    let width = figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
    let shown = figures.iter().map(|figure| figure.shown.chars().count()).max().unwrap_or_default();
    println!();
    for figure in figures {
        let line = format!("{:width$}  {:shown$}  {}", figure.what, figure.shown, figure.verdict());
        println!("{}", line.trim_end());
        if !figure.note.is_empty() {
            println!("{:width$}  note: {}", "", figure.note);
        }
    }
}
