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
        if let Some(path) = OF_A_MACHINE.iter().map(|parts| parts.concat()).find(|path| line.contains(path)) {
            faults.push(format!("{name}:{}: `{path}` is a path of one machine", index + 1));
        }
    }
    faults
}

/// Folders that exist on a developer's machine only; in parts, so that this file passes its own check.
const OF_A_MACHINE: [[&str; 2]; 4] =
    [["/wo", "rk/"], ["/root/", ".cargo"], ["/root/", ".rustup"], ["/root/", ".pyenv"]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_code_and_machine_paths_are_faults() {
        assert_eq!(faults_of("a.rs", &"x\n".repeat(MOST_LINES)), Vec::<String>::new());
        assert_eq!(faults_of("a.rs", &"x\n".repeat(MOST_LINES + 1)).len(), 1);
        assert_eq!(faults_of("a.json", &"x\n".repeat(MOST_LINES + 1)).len(), 0);
        assert_eq!(faults_of("a.md", &format!("see {}b\n", OF_A_MACHINE[0].concat())).len(), 1);
    }
}
