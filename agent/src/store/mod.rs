//! The folder of the bundles: sealed ones, and those in the making. Nothing is ever deleted here.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::Serialize;
use uuid::Uuid;

use crate::bundle::seal::file_name;
use crate::text;

/// Entries of the folder that are looked at, at most.
const ENTRIES_MAX: usize = 100_000;

/// The folder.
#[derive(Debug)]
pub struct Store {
    dir: File,
    path: PathBuf,
}

/// What became of a capture, by its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its collector is at work, or has yet to be sealed.
    InTheMaking,
    /// Done.
    Sealed,
}

/// One bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Which: its order is the order in time.
    pub id: Uuid,
    /// Sealed or not.
    pub state: State,
    /// Length of the file.
    pub bytes: u64,
    /// When it was written last.
    pub modified: Timestamp,
}

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file of it.
    #[error("cannot {step} {}: {source}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No bundle of this name.
    #[error("there is no sealed bundle {id} in {}: `afterimage bundle list` shows what there is", path.display())]
    None {
        /// What was asked for.
        id: String,
        /// Where.
        path: PathBuf,
    },
    /// More than one.
    #[error("{count} bundles in {} begin with {id}: give more of its id", path.display())]
    Many {
        /// What was asked for.
        id: String,
        /// Where.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

impl Store {
    /// The folder `path`, made with mode 0700 when it is not there.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("make the folder of bundles", path))?;
        Self::existing(path)
    }

    /// The folder `path`, which must be there.
    pub fn existing(path: &Path) -> Result<Self, Error> {
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
        let dir = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
        let dir = dir.map_err(failed("open the folder of bundles", path))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// The folder's descriptor, for `Bag::create` and `seal`.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bundles, oldest first.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let step = "list the folder of bundles";
        let mut dir = Dir::openat(&self.dir, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| failed(step, &self.path)(error.into()))?;
        let mut entries = Vec::new();
        for entry in dir.iter().take(ENTRIES_MAX) {
            let entry = entry.map_err(|error| failed(step, &self.path)(error.into()))?;
            let Some((id, state)) = parse(entry.file_name().to_bytes()) else { continue };
            // Gone between the two calls: sealed or deleted meanwhile.
            let Ok(file) = self.file(&entry.file_name().to_string_lossy()) else { continue };
            let Ok(status) = file.metadata() else { continue };
            let modified = status.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            entries.push(Entry { id, state, bytes: status.len(), modified: modified.unwrap_or_default() });
        }
        entries.sort_by_key(|entry| (entry.id, entry.state));
        // In the moment of the rename both names can be seen.
        entries.dedup_by(|later, earlier| {
            let same = later.id == earlier.id;
            if same {
                earlier.clone_from(later);
            }
            same
        });
        Ok(entries)
    }

    /// The sealed bundle whose id begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<Uuid, Error> {
        let wanted = prefix.to_ascii_lowercase();
        let sealed = self.list()?.into_iter().filter(|entry| entry.state == State::Sealed);
        let ids: Vec<Uuid> =
            sealed.map(|entry| entry.id).filter(|id| id.to_string().starts_with(&wanted)).collect();
        let (id, path) = (text::escape(prefix.as_bytes()), self.path.clone());
        match ids.as_slice() {
            [] => Err(Error::None { id, path }),
            [one] => Ok(*one),
            many => Err(Error::Many { id, path, count: many.len() }),
        }
    }

    /// The newest sealed bundle.
    pub fn newest(&self) -> Result<Uuid, Error> {
        let mut entries = self.list()?;
        entries.retain(|entry| entry.state == State::Sealed);
        let none = || Error::None { id: "at all".to_owned(), path: self.path.clone() };
        entries.last().map(|entry| entry.id).ok_or_else(none)
    }

    /// A sealed bundle, for reading.
    pub fn open_sealed(&self, id: Uuid) -> Result<File, Error> {
        let name = file_name(id);
        self.file(&name).map_err(failed("open the bundle", &self.path.join(name)))
    }

    fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Bytes that this process may still write to the file system of `dir`.
pub fn free_bytes(dir: impl AsFd) -> io::Result<u64> {
    let status = nix::sys::statvfs::fstatvfs(dir)?;
    Ok(status.blocks_available().saturating_mul(status.fragment_size()))
}

fn parse(name: &[u8]) -> Option<(Uuid, State)> {
    let name = std::str::from_utf8(name).ok()?;
    let (id, state) = match (name.strip_suffix(".tar.zst"), name.strip_suffix(".partial")) {
        (Some(id), _) => (id, State::Sealed),
        (_, Some(id)) => (id, State::InTheMaking),
        _ => return None,
    };
    let uuid = Uuid::parse_str(id).ok()?;
    (uuid.hyphenated().to_string() == id).then_some((uuid, state))
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0193aaaa-0000-7000-8000-000000000001";
    const TWO: &str = "0193bbbb-0000-7000-8000-000000000002";

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("a/bundles")).unwrap();
        for name in [
            format!("{TWO}.tar.zst"),
            format!("{ONE}.tar.zst"),
            format!("{ONE}.partial"),
            "0193bbbb-0000-7000-8000-000000000003.partial".to_owned(),
            "0193BBBB-0000-7000-8000-000000000004.tar.zst".to_owned(),
            "x.tar.zst".to_owned(),
        ] {
            drop(File::create(store.path().join(name)).unwrap());
        }
        std::os::unix::fs::symlink("/etc/passwd", store.path().join(format!("{}.tar.zst", Uuid::nil())))
            .unwrap();
        (folder, store)
    }

    #[test]
    fn only_files_of_bundles_are_listed_oldest_first() {
        let (_folder, store) = store();
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(store.path()).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        let seen: Vec<_> =
            store.list().unwrap().into_iter().map(|entry| (entry.id.to_string(), entry.state)).collect();
        assert_eq!(seen[..2], [(ONE.to_owned(), State::Sealed), (TWO.to_owned(), State::Sealed)]);
        assert_eq!((seen.len(), seen[2].1), (3, State::InTheMaking));
        assert_eq!(store.newest().unwrap().to_string(), TWO);
    }

    #[test]
    fn a_prefix_must_mean_one_sealed_bundle() {
        let (_folder, store) = store();
        assert_eq!(store.find("0193B").unwrap().to_string(), TWO);
        assert!(matches!(store.find("0193"), Err(Error::Many { count: 2, .. })));
        for none in ["7", "x", "../x", "0193bbbb-0000-7000-8000-000000000003"] {
            assert!(matches!(store.find(none), Err(Error::None { .. })), "{none}");
        }
        assert!(store.open_sealed(Uuid::nil()).is_err(), "a link is not followed");
        assert!(free_bytes(store.dir()).unwrap() > 0);
    }
}
