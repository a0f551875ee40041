//! Code that is nowhere on disk, and code that is not what its file is: found, by name, with its bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::agent::Agent;
use e2e::digest::sha256;
use e2e::judges::Bag;
use e2e::living::Ghost;
use e2e::mapper::{ANONYMOUS, DELETED, HOOK, HOOKED_AT, Mapper, PIECES, PLUGIN, SPARSE, SPARSE_SIZE};
use e2e::{story, world};
use serde_json::Value;

const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const LIBM: &str = "/usr/lib/x86_64-linux-gnu/libm.so.6";

#[test]
fn code_that_is_nowhere_on_disk_is_found_and_in_the_bundle() {
    world::inside("code_that_is_nowhere_on_disk_is_found_and_in_the_bundle", || {
        // What a package brought, by dpkg's own list.
        fs::create_dir_all("/var/lib/dpkg/info")?;
        fs::write("/var/lib/dpkg/info/libc6:amd64.list", format!("/.\n{LIBC}\n{LIBM}\n"))?;
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let mapper = Mapper::start(LIBM)?;
        let bundle = agent.capture(&["--pid", &mapper.seen.pid.to_string()])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/mapper"))?;
        let code = Code::of(&bag)?;
        patched(&mapper, &code).context("the patched library")?;
        memfd(&mapper, &code).context("the memfd")?;
        deleted(&mapper, &code).context("the deleted library")?;
        sparse(&mapper, &code).context("the sparse file")?;
        anonymous(&mapper, &code).context("the page without a file")?;
        stack(&mapper, &code).context("the executable stack")?;
        vdso(&mapper, &code).context("the kernel's code in a process")?;
        clean(&mapper, &code).context("the clean processes")
    });
}

#[test]
fn a_program_from_a_memfd_is_found() {
    world::inside("a_program_from_a_memfd_is_found", || {
        let agent = Agent::start(&story::program(), Path::new("/tmp/afterimage.log"))?;
        let ghost = Ghost::start()?;
        let bundle = agent.capture(&["--pid", &ghost.seen.pid.to_string()])?;
        let bag = Bag::extract(&bundle, Path::new("/var/tmp/ghost"))?;
        let code = Code::of(&bag)?;
        let finding = code.one(&format!("{}-{}", ghost.seen.pid, ghost.seen.start), &ghost.seen.exe)?;
        ensure!(reasons(finding) == ["memfd_executable"], "{finding}");
        ensure!(code.artifact_hash(finding)? == ghost.sha256, "{finding}");
        Ok(())
    });
}

#[test]
fn without_the_right_to_follow_mappings_files_are_found_by_name() {
    world::inside("without_the_right_to_follow_mappings_files_are_found_by_name", || {
        let mapper = Mapper::start(LIBM)?;
        let output = Command::new("setpriv")
            .args(["--bounding-set", "-sys_admin,-checkpoint_restore"])
            .arg(story::program())
            .args(["capture", "--pid", &mapper.seen.pid.to_string(), "--output", "/var/lib", "--json"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the capture failed: {}\n{said}", output.status);
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let bundle = answer["file"].as_str().with_context(|| format!("no file in {answer}"))?;
        let bag = Bag::extract(Path::new(bundle), Path::new("/var/tmp/mapper"))?;
        let code = Code::of(&bag)?;
        let short = mapper.short("patched")?;
        let manifest: Value = serde_json::from_slice(&fs::read(bag.file("capture.json"))?)?;
        let outcome = |subject: &str| {
            let attempts = manifest["attempts"].as_array()?;
            Some(attempts.iter().find(|one| one["subject"] == subject)?["outcome"].as_str()?.to_owned())
        };
        ensure!(outcome(&format!("{short} map_files")).as_deref() == Some("refused"), "{manifest}");
        let deleted = format!("{} mapped {DELETED} (deleted)", mapper.short("deleted")?);
        ensure!(outcome(&deleted).as_deref() == Some("refused"), "{manifest}");
        patched(&mapper, &code).context("the patched library")
    });
}

/// What the bundle says of code.
struct Code<'a> {
    bag: &'a Bag,
    findings: Vec<Value>,
}

impl<'a> Code<'a> {
    fn of(bag: &'a Bag) -> Result<Self> {
        let findings = serde_json::from_slice(&fs::read(bag.file("data/code/findings.json"))?)?;
        Ok(Self { bag, findings })
    }

    fn of_process(&self, short: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["process"] == short).collect()
    }

    /// The only finding of a process, which is about `path`.
    fn one(&self, short: &str, path: &str) -> Result<&Value> {
        let found = self.of_process(short);
        ensure!(found.len() == 1 && found[0]["path"] == path, "{found:#?}");
        Ok(found[0])
    }

    fn artifact_hash(&self, finding: &Value) -> Result<String> {
        let artifact = finding["artifact"].as_str().with_context(|| format!("no artifact in {finding}"))?;
        sha256(self.bag.file(artifact))
    }

    fn map(&self, short: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.bag.file(&format!("data/process/{short}/code.json")))?)?)
    }
}

fn reasons(finding: &Value) -> Vec<&str> {
    let all = finding["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|reason| reason["what"].as_str()).collect()
}

fn patched(mapper: &Mapper, code: &Code) -> Result<()> {
    let short = mapper.short("patched")?;
    let findings = code.of_process(&short);
    let changed: Vec<_> = findings.iter().filter(|one| reasons(one) == ["text_changed"]).collect();
    ensure!(findings.len() == 1 && changed.len() == 1, "{findings:#?}");
    let finding = changed[0];
    ensure!(finding["path"] == LIBM, "{finding}");
    let library = fs::read(LIBM)?;
    let differences = finding["text"]["differences"].as_array().context("no differences")?;
    ensure!(differences.len() == 1, "{finding}");
    let offset = u64::try_from(HOOKED_AT)?;
    let at = |key: &str| differences[0][key].as_str().unwrap_or_default().to_owned();
    ensure!(at("offset") == format!("{offset:#x}"), "{finding}");
    ensure!(at("address") == format!("{:#x}", mapper.address("patched")? + offset), "{finding}");
    // Bytes that happen to be those of the hook are no difference at its ends.
    let original = &library[HOOKED_AT..HOOKED_AT + HOOK.len()];
    ensure!(at("memory") == hex(&HOOK) && at("file") == hex(original), "{finding}");
    ensure!(code.artifact_hash(finding)? == sha256(LIBM)?, "it is not the library that is in the bundle");
    let map = code.map(&short)?;
    let rows = map["mappings"].as_array().context("no mappings")?;
    let pages: Vec<&Value> = rows
        .iter()
        .filter(|row| row["path"] == LIBM)
        .flat_map(|row| row["pages"].as_array().into_iter().flatten())
        .collect();
    ensure!(pages.iter().filter(|run| run["source"] == "changed").count() == 1, "{pages:?}");
    ensure!(pages.iter().any(|run| run["source"] == "file"), "{pages:?}");
    Ok(())
}

fn memfd(mapper: &Mapper, code: &Code) -> Result<()> {
    let finding = code.one(&mapper.short("memfd")?, &format!("/memfd:{PLUGIN} (deleted)"))?;
    ensure!(reasons(finding) == ["memfd_executable"] && finding["kind"] == "memfd", "{finding}");
    ensure!(code.artifact_hash(finding)? == sha256(LIBM)?, "{finding}");
    Ok(())
}

fn deleted(mapper: &Mapper, code: &Code) -> Result<()> {
    let finding = code.one(&mapper.short("deleted")?, &format!("{DELETED} (deleted)"))?;
    ensure!(reasons(finding) == ["deleted_executable"], "{finding}");
    ensure!(code.artifact_hash(finding)? == sha256(LIBM)?, "{finding}");
    Ok(())
}

fn sparse(mapper: &Mapper, code: &Code) -> Result<()> {
    let short = mapper.short("sparse")?;
    ensure!(code.of_process(&short).is_empty(), "an open file is no code: {:?}", code.of_process(&short));
    let name = format!("data/hidden/deleted/{short}/fd-{}", mapper.report["sparse"]["fd"]);
    let data = fs::read(code.bag.file(&format!("{name}.data")))?;
    let list: Value = serde_json::from_slice(&fs::read(code.bag.file(&format!("{name}.json")))?)?;
    ensure!(list["size"] == SPARSE_SIZE, "{list}");
    let extents = list["data"].as_array().context("no extents")?;
    let mut at = 0;
    let mut content = Vec::new();
    for extent in extents {
        let number = |key: &str| extent[key].as_u64().with_context(|| format!("no {key} in {extent}"));
        let (offset, length) = (number("offset")?, usize::try_from(number("length")?)?);
        content.push((offset, data.get(at..at + length).context("the data are shorter than the list")?));
        at += length;
    }
    ensure!(at == data.len() && extents.len() == PIECES.len(), "{list} of {} bytes", data.len());
    for (offset, expected) in PIECES {
        let found = content.iter().find_map(|(start, bytes)| {
            bytes.get(usize::try_from(offset.checked_sub(*start)?).ok()?..)?.get(..expected.len())
        });
        ensure!(found == Some(expected), "at {offset}: {found:?}");
    }
    let findings = fs::read_to_string(code.bag.file("data/hidden/findings.json"))?;
    ensure!(findings.contains(&format!("{SPARSE} (deleted)")), "{findings}");
    Ok(())
}

fn anonymous(mapper: &Mapper, code: &Code) -> Result<()> {
    let finding = code.one(&mapper.short("anonymous")?, "")?;
    ensure!(reasons(finding) == ["writable_and_executable", "anonymous_executable"], "{finding}");
    ensure!(finding["start"] == format!("{:#x}", mapper.address("anonymous")?), "{finding}");
    ensure!(finding["permissions"] == "rwxp", "{finding}");
    ensure!(finding["first"].as_str().is_some_and(|first| first.starts_with(&hex(&ANONYMOUS))), "{finding}");
    Ok(())
}

/// The kernel calls the part that was not touched `[stack]`, and the others nothing.
fn stack(mapper: &Mapper, code: &Code) -> Result<()> {
    let finding = code.one(&mapper.short("stack")?, "")?;
    ensure!(reasons(finding) == ["writable_and_executable", "stack_executable"], "{finding}");
    ensure!(finding["start"] == format!("{:#x}", mapper.address("stack")?), "{finding}");
    ensure!(finding["kind"] == "stack", "{finding}");
    Ok(())
}

fn vdso(mapper: &Mapper, code: &Code) -> Result<()> {
    let finding = code.one(&mapper.short("vdso")?, "[vdso]")?;
    ensure!(reasons(finding) == ["vdso_changed"], "{finding}");
    let differences = finding["text"]["differences"].as_array().context("no differences")?;
    let address = format!("{:#x}", mapper.address("vdso")?);
    ensure!(differences.len() == 1 && differences[0]["address"] == address, "{finding}");
    ensure!(differences[0]["memory"] == "cc", "{finding}");
    Ok(())
}

/// No finding, and of what a package brought the hash rather than the bytes.
fn clean(mapper: &Mapper, code: &Code) -> Result<()> {
    for scene in ["clean", "python"] {
        let short = mapper.short(scene)?;
        ensure!(code.of_process(&short).is_empty(), "{scene}: {:#?}", code.of_process(&short));
    }
    let short = mapper.short("python")?;
    let manifest: Value = serde_json::from_slice(&fs::read(code.bag.file("capture.json"))?)?;
    let attempts = manifest["attempts"].as_array().context("no attempts")?;
    let attempt = attempts.iter().find(|one| one["subject"] == format!("{short} code"));
    ensure!(attempt.is_some_and(|one| one["outcome"] == "ok"), "{attempt:?}");
    let map = code.map(&short)?;
    let files = map["files"].as_array().context("no files")?;
    let libc = files.iter().find(|file| file["path"] == LIBC).context("no libc")?;
    ensure!(libc["package"] == true && libc["artifact"].is_null(), "{libc}");
    ensure!(libc["sha256"] == sha256(LIBC)?, "{libc}");
    let foreign = files.iter().find(|file| file["package"] == false).context("all from packages")?;
    let artifact = foreign["artifact"].as_str().with_context(|| format!("no artifact in {foreign}"))?;
    let path = foreign["path"].as_str().context("no path")?;
    ensure!(sha256(code.bag.file(artifact))? == sha256(path)?, "{foreign}");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
