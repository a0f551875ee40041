//! `afterimage pull`, as an investigator on another host uses it: with none of this host's keys but the line it was given.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::agent::{self, Agent};
use e2e::digest::sha256;
use e2e::living::Worker;
use e2e::story::door::Door;
use e2e::{story, world};
use serde_json::Value;

/// The investigator's own configuration: its state is empty.
const CONFIG: &str = "/tmp/investigator.toml";
const TOKEN: &str = "/tmp/token";
const SIGNERS: &str = "/tmp/allowed_signers";
const TAMPERED: i32 = 3;
const UNTRUSTED: i32 = 5;

#[test]
fn a_bundle_is_pulled_verified_and_resumed() {
    world::inside("a_bundle_is_pulled_verified_and_resumed", || {
        let program = story::program();
        let agent = Agent::start(&program, Path::new("/tmp/afterimage.log"))?;
        let worker = Worker::start()?;
        let bundle = agent.capture(&["--pid", &worker.seen.pid.to_string(), "--profile", "volatile"])?;
        fs::write(CONFIG, "[paths]\nstate = \"/tmp/investigator\"\n")?;
        fs::write(TOKEN, Door::token(&program, &["--role", "read"])?)?;
        fs::write(SIGNERS, agent::succeed(&program, &["key", "public", "--allowed-signers"])?)?;
        let bytes = fs::read(&bundle)?;
        let name = bundle.file_name().and_then(|name| name.to_str()).context("no name")?;

        let pull = Pull { name, folder: PathBuf::from("/tmp/stranger") };
        let (status, line) = pull.run(&[])?;
        ensure!(status == Some(UNTRUSTED), "without the host's line: {status:?}, {line}");

        let trusted = ["--allowed-signers", SIGNERS];
        let pull = Pull { name, folder: PathBuf::from("/tmp/whole") };
        pull.is_good(pull.run(&trusted)?, &bundle, bytes.len())?;
        // What is here already is not fetched again.
        pull.is_good(pull.run(&trusted)?, &bundle, 0)?;

        let half = bytes.len() / 2;
        let pull = Pull { name, folder: PathBuf::from("/tmp/resumed") };
        pull.broke_off(&bytes[..half])?;
        pull.is_good(pull.run(&trusted)?, &bundle, bytes.len() - half)?;

        let mut changed = bytes[..half].to_vec();
        changed[half / 2] ^= 1;
        let pull = Pull { name, folder: PathBuf::from("/tmp/changed") };
        pull.broke_off(&changed)?;
        let (status, line) = pull.run(&trusted)?;
        ensure!(status == Some(TAMPERED), "with another beginning: {status:?}, {line}");
        ensure!(!pull.folder.join(name).exists(), "what has another hash goes by the bundle's name");
        agent.stop()
    });
}

/// One bundle, into one folder.
struct Pull<'n> {
    name: &'n str,
    folder: PathBuf,
}

impl Pull<'_> {
    /// Leaves what an interrupted pull leaves.
    fn broke_off(&self, beginning: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        Ok(fs::write(self.folder.join(format!("{}.part", self.name)), beginning)?)
    }

    /// The exit status, and what it says as JSON.
    fn run(&self, more: &[&str]) -> Result<(Option<i32>, Value)> {
        let folder = self.folder.to_str().context("an odd path")?;
        let fixed = ["--config", CONFIG, "pull", "http://127.0.0.1:8740", "--json", "--token-file", TOKEN];
        let output = agent::ask(&story::program(), &[&fixed[..], &["--output", folder], more].concat())?;
        let said = String::from_utf8(output.stdout)?;
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let line = said.lines().next().map_or(Ok(Value::Null), serde_json::from_str)?;
        Ok((output.status.code(), line))
    }

    /// Fails unless the bundle is here, found good, and so many bytes of it came over the network.
    fn is_good(&self, (status, line): (Option<i32>, Value), bundle: &Path, fetched: usize) -> Result<()> {
        ensure!(status == Some(0) && line["verdict"] == "good", "{status:?}, {line}");
        ensure!(line["fetched"] == fetched, "{fetched} bytes were missing: {line}");
        ensure!(sha256(self.folder.join(self.name))? == sha256(bundle)?, "it is not the bundle: {line}");
        ensure!(!self.folder.join(format!("{}.part", self.name)).exists(), "the .part is still there");
        Ok(())
    }
}
