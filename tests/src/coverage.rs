//! docs/coverage.md: what another collector takes, and where a bundle has it.

use anyhow::{Context, Result, ensure};

/// The facts that UAC takes: artifact, kind, what it runs or reads.
pub const FACTS: &str = include_str!("../fixtures/uac-ir_triage.tsv");
/// The page.
pub const PAGE: &str = include_str!("../../docs/coverage.md");

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// UAC's artifact.
    pub artifact: &'a str,
    /// What it runs or reads.
    pub facts: Vec<&'a str>,
    /// Members of a bundle, as patterns; none where it is left out.
    pub members: Vec<&'a str>,
}

/// The table's lines; fails where one has neither members nor a reason.
pub fn table(page: &str) -> Result<Vec<Line<'_>>> {
    page.lines().filter(|line| line.starts_with("| ")).skip(1).map(line).collect()
}

fn line(line: &str) -> Result<Line<'_>> {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [artifact, facts, members, words] = cells[..] else { anyhow::bail!("not four cells: {line}") };
    let (facts, patterns) = (quoted(facts), quoted(members));
    ensure!(!facts.is_empty(), "for nothing: {line}");
    ensure!(words.len() > 3, "neither a source nor a reason: {line}");
    ensure!(patterns.is_empty() == (members == "left out"), "neither in a bundle nor left out: {line}");
    Ok(Line { artifact, facts, members: patterns })
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The facts: artifact, and what is run or read.
pub fn facts(list: &str) -> Result<Vec<(&str, &str)>> {
    let rows = list.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut fields = row.split('\t');
        let (artifact, fact) = (fields.next(), fields.nth(1));
        artifact.zip(fact).with_context(|| format!("not three fields: {row}"))
    })
    .collect()
}

/// Whether `path` is one that `pattern` means: `*` within a name, `**` for one or more names.
pub fn means(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    below(&pattern, &path)
}

fn below(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), Some((_, more))) => {
            below(rest, more) || (!more.is_empty() && below(pattern, more))
        }
        (Some((part, rest)), Some((name, more))) => fits(part, name) && below(rest, more),
        _ => false,
    }
}

fn fits(part: &str, name: &str) -> bool {
    let Some((first, rest)) = part.split_once('*') else { return part == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).filter(|&at| name.is_char_boundary(at)).any(|at| fits(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_a_place_or_a_reason() {
        let good = "| a | x |\n| a/b | `x -y` `z` | `data/1` `data/2*` | /proc |\n| c | `d` | left out | it asks a daemon |";
        let lines = table(good).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].facts.len(), lines[0].members.len(), lines[1].members.len()), (2, 2, 0));
        for bad in [
            "| a | `x` | | why |",
            "| a | `x` | left out | |",
            "| a | `x` | left out |",
            "| a | | `data/x` | /proc |",
            "| a | `x` | somewhere | /proc |",
        ] {
            assert!(table(&format!("| head |\n{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_mean_paths() {
        for (pattern, path, expected) in [
            ("data/a*/x", "data/abc/x", true),
            ("data/a*/x", "data/a/b/x", false),
            ("data/**", "data/a/b", true),
            ("data/**", "data", false),
            ("data/**/x", "data/x", false),
            ("data/**/x", "data/a/b/x", true),
            ("data/*-x.*", "data/1-x.log", true),
            ("data/x", "data/xy", false),
        ] {
            assert_eq!(means(pattern, path), expected, "{pattern} {path}");
        }
    }
}
