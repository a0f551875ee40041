//! `cargo xtask ebpf`: builds the probe's objects, so that everything else needs stable Rust only.
//!
//! An object is the same byte for byte wherever it is built with the same tools: paths are remapped, and the tools are
//! named beside it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::{self, command, output, run as run_command, workspace};
use crate::setup::{self, For};

/// What watches, and what reads the kernel's memory for an image of the whole RAM.
const OBJECTS: [&str; 2] = ["probe", "ram"];
const TARGET: &str = "bpfel-unknown-none";
/// Debian's own compiler, which has the library's source (rust-web-src) for a target that nobody ships built.
const RUSTC: &str = "/usr/bin/rustc";

/// What stands beside the object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Provenance {
    sha256: String,
    tools: Tools,
}

/// What decides the bytes, besides the sources.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tools {
    rustc: String,
    bpf_linker: String,
    aya_ebpf: String,
}

/// What a rebuild says of the committed object.
pub enum Verdict {
    /// The same tools give the same bytes.
    Same,
    /// It builds, but with other tools than those recorded: the bytes say nothing.
    NotCompared(String),
}

/// An object as the sources give it now.
struct Fresh {
    name: &'static str,
    object: Vec<u8>,
    provenance: Provenance,
}

/// Builds, and writes the objects and their provenance; with `verify`, compares them instead, and fails where that is
/// not possible.
pub fn run(verify: bool) -> Result<()> {
    if verify {
        return match rebuilt()? {
            Verdict::Same => Ok(()),
            Verdict::NotCompared(why) => bail!("{why}"),
        };
    }
    fresh()?.iter().try_for_each(write)
}

/// Rebuilds the objects and compares them with the committed ones.
pub fn rebuilt() -> Result<Verdict> {
    let mut open = Vec::new();
    for fresh in fresh()? {
        if let Verdict::NotCompared(why) = compare(&fresh)? {
            open.push(why);
        }
    }
    Ok(if open.is_empty() { Verdict::Same } else { Verdict::NotCompared(open.join("; ")) })
}

fn fresh() -> Result<Vec<Fresh>> {
    setup::run(&[For::Probe])?;
    let built = build()?;
    let mut all = Vec::new();
    for name in OBJECTS {
        let path = built.join(name);
        let object =
            fs::read(&path).with_context(|| format!("cannot read the new object {}", path.display()))?;
        let provenance = Provenance { sha256: hex(&Sha256::digest(&object)), tools: tools()? };
        all.push(Fresh { name, object, provenance });
    }
    Ok(all)
}

/// Builds them all, and answers where they are.
fn build() -> Result<PathBuf> {
    let target = workspace().join("target/probe");
    run_command(
        command::cargo()
            .args(["build", "--release", "--package", "afterimage-ebpf", "--bins"])
            .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
            .arg(&target)
            .env("RUSTC", RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags(&target)?.join("\u{1f}"))
            // One unit, whole: the verifier wants everything inlined, and the linker strips by itself.
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_STRIP", "none"),
    )?;
    Ok(target.join(TARGET).join("release"))
}

/// Flags that keep the builder's own paths out of the object.
fn flags(target: &Path) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = output(command(RUSTC).args(["--print", "sysroot"]))?;
    // The last that matches counts, so the longest path comes last.
    let paths = [
        (workspace(), "/afterimage"),
        (target.to_path_buf(), "/target"),
        (home, "/cargo"),
        (PathBuf::from(sysroot.trim()), "/rust"),
    ];
    Ok(paths.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect())
}

fn tools() -> Result<Tools> {
    let lock = workspace().join("Cargo.lock");
    let lock: toml::Table = fs::read_to_string(&lock)?.parse().context("Cargo.lock is not TOML")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let aya =
        packages.iter().find(|package| package.get("name").and_then(toml::Value::as_str) == Some("aya-ebpf"));
    let aya = aya.and_then(|package| package.get("version")).and_then(toml::Value::as_str);
    Ok(Tools {
        rustc: output(command(RUSTC).arg("--version"))?.trim().to_owned(),
        bpf_linker: output(command("bpf-linker").arg("--version"))?.trim().to_owned(),
        aya_ebpf: aya.context("Cargo.lock has no aya-ebpf")?.to_owned(),
    })
}

fn object_of(name: &str) -> String {
    format!("ebpf/built/{name}.o")
}

fn provenance_of(name: &str) -> String {
    format!("ebpf/built/{name}.toml")
}

fn write(fresh: &Fresh) -> Result<()> {
    let Fresh { name, object, provenance } = fresh;
    let (path, beside) = (object_of(name), provenance_of(name));
    let comment = "# Written by `cargo xtask ebpf`; `cargo xtask ebpf --verify` rebuilds and compares.\n";
    fs::write(workspace().join(&path), object).with_context(|| format!("cannot write {path}"))?;
    fs::write(workspace().join(&beside), format!("{comment}{}", toml::to_string(provenance)?))
        .with_context(|| format!("cannot write {beside}"))?;
    println!("{path}: {} bytes, SHA-256 {}", object.len(), provenance.sha256);
    Ok(())
}

fn compare(fresh: &Fresh) -> Result<Verdict> {
    let Fresh { name, object, provenance } = fresh;
    let (path, beside) = (object_of(name), provenance_of(name));
    let text =
        fs::read_to_string(workspace().join(&beside)).with_context(|| format!("cannot read {beside}"))?;
    let kept: Provenance = toml::from_str(&text).with_context(|| format!("{beside} is not what it was"))?;
    let committed = fs::read(workspace().join(&path)).with_context(|| format!("cannot read {path}"))?;
    if hex(&Sha256::digest(&committed)) != kept.sha256 {
        bail!("{path} is not the object that {beside} speaks of: run `cargo xtask ebpf` and commit both");
    }
    if provenance.tools != kept.tools {
        // Debian's compiler moves on; the object that is committed is still the one that every other test has run.
        return Ok(Verdict::NotCompared(format!(
            "{path} was NOT COMPARED: the sources build here, but the tools are {:?}, and the object was built with \
             {:?}; run `cargo xtask ebpf` and commit both files",
            provenance.tools, kept.tools
        )));
    }
    if *object != committed {
        bail!("{path} is not what the sources give: run `cargo xtask ebpf` and commit both files");
    }
    println!("{path}: the sources give the same {} bytes", object.len());
    Ok(Verdict::Same)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
