//! `cargo xtask demo`: the drill against the real agent, and what is left in the reader's hands.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{command, run as run_command, workspace};
use crate::setup::{self, For};
use crate::{binaries, command as commands};

/// Plays the drill and shows the bundle.
pub fn run() -> Result<()> {
    setup::run(&[For::Build, For::World, For::Judges])?;
    let binaries = binaries::build()?;
    let results = workspace().join("target/demo");
    if results.exists() {
        fs::remove_dir_all(&results).context("remove the last demo's results")?;
    }
    let mut demo = command(binaries.join("demo"));
    run_command(demo.arg(&results).env("AFTERIMAGE_BINARIES", &binaries))?;
    show(&results, &binaries.join("afterimage"))
}

fn show(results: &std::path::Path, agent: &std::path::Path) -> Result<()> {
    let bundle = fs::read_dir(results)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .context("the demo left no bundle")?;
    let id = bundle.file_name().unwrap_or_default().to_string_lossy().replace(".tar.zst", "");
    println!("\nThe bundle: {}\n", bundle.display());
    print!(
        "{}",
        commands::output(
            command(agent)
                .args(["bundle", "show", "--allowed-signers"])
                .arg(results.join("allowed_signers"))
                .arg(&bundle)
        )?
    );
    println!(
        "\nCheck it yourself, without afterimage:\n\n  \
         cd {}\n  \
         tar --zstd -xf {id}.tar.zst && cd {id}\n  \
         sha256sum --quiet -c tagmanifest-sha256.txt manifest-sha256.txt\n  \
         {} --quiet --validate .\n  \
         ssh-keygen -Y verify -f ../allowed_signers -I $(cut -d' ' -f1 ../allowed_signers) -n afterimage \\\n    \
         -s tagmanifest-sha256.txt.sig < tagmanifest-sha256.txt",
        results.display(),
        setup::python().join("bin/bagit.py").display(),
    );
    Ok(())
}
