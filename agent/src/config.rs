//! The configuration: every value has a default that works; unknown keys are refused.
//!
//! `/etc/afterimage/afterimage.toml`, then `conf.d/*.toml` beside it in the order of their names; a later file's value
//! replaces an earlier one's.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capture::job::Limits;
use crate::history::stasher;
use crate::text;

/// Where the configuration is, unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/afterimage/afterimage.toml";
/// The commented default, as `config default` prints it.
pub const DEFAULT_TEXT: &str = include_str!("../../packaging/afterimage.toml");
/// A configuration is a page, not a book.
const FILE_MAX: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where things are.
    pub paths: Paths,
    /// What watches in the kernel.
    pub probe: Probe,
    /// The flight recorder.
    pub history: History,
    /// Copies of executables.
    pub stash: stasher::Limits,
    /// The question before each execution.
    pub gate: Gate,
    /// Bounds of one capture.
    pub capture: Limits,
    /// Bounds of all captures together.
    pub captures: Captures,
    /// HTTP.
    pub door: Door,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// The folder of history, stash, bundles and keys.
    pub state: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    /// procfs of the host.
    pub proc: PathBuf,
    /// Root of the host's files.
    pub root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            state: "/var/lib/afterimage".into(),
            socket: "/run/afterimage/afterimage.sock".into(),
            proc: "/proc".into(),
            root: "/".into(),
        }
    }
}

impl Paths {
    /// The history's segments.
    pub fn history(&self) -> PathBuf {
        self.state.join("history")
    }

    /// The stash.
    pub fn stash(&self) -> PathBuf {
        self.state.join("stash")
    }

    /// The store of sealed bundles.
    pub fn bundles(&self) -> PathBuf {
        self.state.join("bundles")
    }

    /// The signing key, tokens and webhook secrets.
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }
}

/// What watches in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// Bytes of the ring between kernel and recorder: a power of two from 64 KiB to 1 GiB.
    pub ring_bytes: u32,
    /// Whether a process whose executable has no file is stopped before its first instruction, until it was taken.
    pub hold: bool,
    /// Whether it is seen what processes ask the kernel for: files in memory, tracing, mounts, becoming root, ...
    pub calls: bool,
    /// Whether questions to name servers are seen.
    pub questions: bool,
    /// Whether it is seen what is done to files in places of persistence and to logs.
    pub places: bool,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            ring_bytes: afterimage_ebpf::RING_BYTES,
            hold: true,
            calls: true,
            questions: true,
            places: true,
        }
    }
}

/// The flight recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Bytes on disk.
    pub bytes: u64,
    /// Hours that are kept.
    pub hours: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { bytes: 1 << 30, hours: 72 }
    }
}

/// The question before each execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Whether the kernel asks.
    pub enabled: bool,
    /// Whether it asks for whole file systems, containers included; only where the agent sees the whole host.
    pub file_systems: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self { enabled: true, file_systems: true }
    }
}

/// Bounds of all captures together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Captures {
    /// Captures that run at the same time.
    pub running: usize,
    /// Captures that wait; a trigger beyond that is told to come again (503).
    pub waiting: usize,
    /// Bytes of the file system that captures leave free.
    pub reserve_bytes: u64,
}

impl Default for Captures {
    fn default() -> Self {
        Self { running: 2, waiting: 64, reserve_bytes: 512 << 20 }
    }
}

/// HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Door {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whom it runs as: a name of /etc/passwd, or a number. A name that is not there becomes 65534.
    pub user: String,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 8740)),
            user: "_afterimage".to_owned(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("the configuration {path} is wrong: {reason}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl Config {
    /// Reads `file`, or the default file if it exists, and the `conf.d` beside it.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let main = file.unwrap_or(Path::new(DEFAULT_FILE));
        let mut merged = toml::Table::new();
        for path in files(main, file.is_some())? {
            let text = read(&path)?;
            let table = text.parse::<toml::Table>().map_err(|failure| wrong(&path, &failure))?;
            // Each file alone must be right, so that the error names the right one.
            table.clone().try_into::<Self>().map_err(|failure| wrong(&path, &failure))?;
            merge(&mut merged, table);
        }
        let config: Self = merged.try_into().map_err(|failure| wrong(main, &failure))?;
        config.check().map_err(|reason| Error::Wrong { path: main.to_owned(), reason })?;
        Ok(config)
    }

    /// SHA-256 of what is in force, defaults included.
    pub fn sha256(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        text::hex(&Sha256::digest(text))
    }

    fn check(&self) -> Result<(), String> {
        for (name, path) in [("paths.state", &self.paths.state), ("paths.socket", &self.paths.socket)] {
            if !path.is_absolute() {
                return Err(format!("{name} must be an absolute path, and {} is not", path.display()));
            }
        }
        for (name, value) in [
            ("capture.deadline_s", self.capture.deadline_s),
            ("capture.bytes", self.capture.bytes),
            ("history.hours", u64::from(self.history.hours)),
            ("captures.running", u64::try_from(self.captures.running).unwrap_or(u64::MAX)),
        ] {
            if value == 0 {
                return Err(format!("{name} must be at least 1: with 0 nothing would ever be kept"));
            }
        }
        let ring = self.probe.ring_bytes;
        if !ring.is_power_of_two() || !(64 << 10..=1 << 30).contains(&ring) {
            return Err(format!(
                "probe.ring_bytes must be a power of two from 65536 to 1073741824, and {ring} is not"
            ));
        }
        Ok(())
    }
}

fn files(main: &Path, must_exist: bool) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    if must_exist || main.exists() {
        files.push(main.to_owned());
    }
    let folder = main.with_file_name("conf.d");
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            let mut parts: Vec<PathBuf> = entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            parts.sort();
            files.extend(parts);
        }
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Read { path: folder, source }),
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    io::Read::read_to_string(&mut io::Read::take(file, FILE_MAX), &mut text).map_err(fail)?;
    Ok(text)
}

fn wrong(path: &Path, failure: &toml::de::Error) -> Error {
    Error::Wrong { path: path.to_owned(), reason: failure.to_string().trim_end().to_owned() }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Config::load(Some(&folder.path().join("afterimage.toml"))).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_printed_default_is_the_default() {
        assert_eq!(toml::from_str::<Config>(DEFAULT_TEXT).unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_in_the_printed_default() {
        let all = toml::Value::try_from(Config::default()).unwrap();
        for (section, table) in all.as_table().unwrap() {
            assert!(DEFAULT_TEXT.contains(&format!("[{section}]")), "[{section}]");
            for key in table.as_table().unwrap().keys() {
                assert!(DEFAULT_TEXT.contains(&format!("#{key} = ")), "{section}.{key}");
            }
        }
    }

    #[test]
    fn later_files_replace_single_values() {
        let config = load(&[
            ("afterimage.toml", "[history]\nhours = 5\nbytes = 7\n"),
            ("conf.d/10.toml", "[history]\nhours = 6\n"),
            ("conf.d/20.toml", "[door]\nenabled = false\n"),
            ("conf.d/ignored.txt", "nonsense"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.history, History { hours: 6, bytes: 7 });
        assert!(!config.door.enabled);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_key() {
        for (files, words) in [
            (&[("afterimage.toml", "[histroy]\n")][..], "histroy"),
            (&[("afterimage.toml", ""), ("conf.d/1.toml", "[door]\nlisten = 'x'\n")], "conf.d/1.toml"),
            (&[("afterimage.toml", "[history]\nhours = -1\n")], "hours"),
            (&[("afterimage.toml", "[capture]\ndeadline_s = 0\n")], "capture.deadline_s"),
            (&[("afterimage.toml", "[paths]\nstate = 'var'\n")], "absolute"),
            (&[("afterimage.toml", "[probe]\nring_bytes = 65537\n")], "power of two"),
            (&[("afterimage.toml", "[probe]\nring_bytes = 4096\n")], "power of two"),
            (&[], "cannot read"),
        ] {
            let failure = load(files).unwrap_err();
            assert!(failure.contains(words), "{failure}");
        }
    }
}
