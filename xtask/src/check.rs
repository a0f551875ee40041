//! What must hold of the source text.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::binaries::cargo_static;
use crate::command::{cargo, command, output, run, workspace};

const MOST_LINES: usize = 500;

/// The packages that build for the host; the probe is linted where it is built.
pub const HOST: [&str; 6] = ["--package", "afterimage", "--package", "xtask", "--package", "e2e"];

/// Formatting, lints, and the rules no lint knows.
pub fn check() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo_static("clippy").args(HOST).args(["--all-targets", "--", "-D", "warnings"]))?;
    texts()
}

fn texts() -> Result<()> {
    let root = workspace();
    let listed = output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut faults = Vec::new();
    for name in listed.lines() {
        let Ok(bytes) = fs::read(root.join(name)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            faults.extend(faults_of(name, &text));
        }
    }
    if !faults.is_empty() {
        bail!("the source text breaks rules of this project:\n  {}", faults.join("\n  "));
    }
    eprintln!(
        "texts: {} files, no machine's own paths, none above {MOST_LINES} lines",
        listed.lines().count()
    );
    Ok(())
}

fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let is_code = Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().count();
    if is_code && lines > MOST_LINES {
        faults.push(format!("{name}: {lines} lines, above {MOST_LINES}: split it"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(path) = of_a_machine(line) {
            faults.push(format!("{name}:{}: `{path}` is a path of one machine", index + 1));
        }
    }
    faults
}

/// An absolute path into a folder where a developer works: `/work/`, or the tool chain or checkout in somebody's home.
fn of_a_machine(line: &str) -> Option<&str> {
    let begins = |at: &usize| {
        let before = line.get(..*at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|before| before.is_alphanumeric() || "_-.~}*".contains(before))
    };
    let starts = line.match_indices('/').map(|(at, _)| at).filter(begins);
    starts.filter_map(|at| line.get(at..)).map(path).find(|path| {
        let mut parts = path.split('/').skip(1);
        let below = match parts.next() {
            Some("work") => return parts.next().is_some_and(|below| !below.is_empty()),
            Some("root") => parts.next(),
            Some("home") => parts.nth(1),
            _ => return false,
        };
        below.is_some_and(|below| IN_A_HOME.contains(&below))
    })
}

/// What `text` begins with, up to what cannot be of a path.
fn path(text: &str) -> &str {
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || "/._-+@".contains(letter)));
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

/// What developers have in their home, and no fixture of ours does.
const IN_A_HOME: [&str; 6] = [".cargo", ".rustup", ".pyenv", ".nvm", "src", "work"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_code_and_machine_paths_are_faults() {
        assert_eq!(faults_of("a.rs", &"x\n".repeat(MOST_LINES)), Vec::<String>::new());
        assert_eq!(faults_of("a.rs", &"x\n".repeat(MOST_LINES + 1)).len(), 1);
        assert_eq!(faults_of("a.json", &"x\n".repeat(MOST_LINES + 1)).len(), 0);
        let machine = ["work/a", "root/.cargo/bin", "home/somebody/src/a"];
        for line in machine.map(|path| format!("see `/{path}`")) {
            assert_eq!(faults_of("a.md", &line).len(), 1, "{line}");
        }
        for line in
            ["a work/b", "target/work/b", "/home/u/.cache/x", "/root/a", "https://host/work/", "~/work/a"]
        {
            assert_eq!(faults_of("a.md", line), Vec::<String>::new(), "{line}");
        }
    }
}
