//! The stash's folder: which files are in it, and which go first when it is full.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

/// Files in the stash, besides the bound on their bytes.
const FILES_MAX: usize = 200_000;
/// Once full, so much room is made at once (a sixteenth), so that not every file has to make its own.
const ROOM_PART: u64 = 16;
/// While a capture reads the stash nothing is removed; it may then outgrow its bound by so much (a quarter).
const HELD_PART: u64 = 4;

/// One file of the stash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// Removed only after all that are not.
    suspicious: bool,
    used: SystemTime,
    bytes: u64,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    bytes_max: u64,
    items: HashMap<String, Item>,
    bytes: u64,
}

impl Shelf {
    /// Looks at what is there. Unfinished files of an earlier stasher are removed.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        crate::history::make_private_folder(folder)?;
        let mut shelf = Self { folder: folder.to_owned(), bytes_max, items: HashMap::new(), bytes: 0 };
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(INCOMING) {
                std::fs::remove_file(entry.path())?;
            } else if let Some(sha256) = name.strip_suffix(".zst") {
                let metadata = entry.metadata()?;
                let suspicious = metadata.permissions().mode() & 0o777 == SUSPICIOUS;
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                shelf.insert(sha256, Item { suspicious, used, bytes: metadata.len() });
            }
        }
        Ok(shelf)
    }

    /// Whether the content is there; it is young once more then.
    pub(super) fn touch(&mut self, sha256: &str) -> bool {
        let path = self.path(sha256);
        let Some(item) = self.items.get_mut(sha256) else { return false };
        let now = SystemTime::now();
        if File::open(path).and_then(|file| file.set_modified(now)).is_err() {
            // Somebody has removed it.
            self.bytes = self.bytes.saturating_sub(item.bytes);
            self.items.remove(sha256);
            return false;
        }
        item.used = now;
        true
    }

    /// Where a content lies.
    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}.zst"))
    }

    /// A name for a file in the making.
    pub(super) fn incoming(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{INCOMING}{number}"))
    }

    /// The folder itself, open.
    pub(super) fn open_folder(&self) -> io::Result<File> {
        File::open(&self.folder)
    }

    /// A file of so many bytes has come.
    pub(super) fn add(&mut self, sha256: &str, bytes: u64, suspicious: bool) {
        self.insert(sha256, Item { suspicious, used: SystemTime::now(), bytes });
    }

    /// Whether no more may come, because nothing may be removed and the bound is far exceeded.
    pub(super) fn is_overfull(&self) -> bool {
        self.bytes > self.bytes_max.saturating_add(self.bytes_max / HELD_PART)
    }

    /// Makes room when the bound is exceeded: the least suspicious and oldest first, none of the newest `spared`. Nothing
    /// while a capture holds the folder. Returns the contents that went.
    pub(super) fn evict(&mut self, spared: &[&str]) -> io::Result<Vec<String>> {
        if self.bytes <= self.bytes_max && self.items.len() <= FILES_MAX {
            return Ok(Vec::new());
        }
        // Captures hold it shared.
        let Ok(_held) = Flock::lock(self.open_folder()?, FlockArg::LockExclusiveNonblock) else {
            return Ok(Vec::new());
        };
        let mut oldest: Vec<(Item, String)> = self
            .items
            .iter()
            .filter(|(sha256, _)| !spared.contains(&sha256.as_str()))
            .map(|(sha256, item)| (item.clone(), sha256.clone()))
            .collect();
        oldest.sort();
        let bytes = self.bytes_max.saturating_sub(self.bytes_max / ROOM_PART);
        let files = FILES_MAX.saturating_sub(FILES_MAX / 16);
        let mut gone = Vec::new();
        for (_, sha256) in oldest {
            if self.bytes <= bytes && self.items.len() <= files {
                break;
            }
            match std::fs::remove_file(self.path(&sha256)) {
                Err(failure) if failure.kind() != io::ErrorKind::NotFound => return Err(failure),
                _ => {}
            }
            if let Some(item) = self.items.remove(&sha256) {
                self.bytes = self.bytes.saturating_sub(item.bytes);
            }
            gone.push(sha256);
        }
        Ok(gone)
    }

    fn insert(&mut self, sha256: &str, item: Item) {
        self.bytes = self.bytes.saturating_add(item.bytes);
        if let Some(old) = self.items.insert(sha256.to_owned(), item) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }
}

/// How the names of unfinished files begin.
const INCOMING: &str = ".incoming-";
/// Permissions of files that go last, and of those that go first: so a restart knows them apart.
pub(super) const SUSPICIOUS: u32 = 0o600;
/// See [`SUSPICIOUS`].
pub(super) const ORDINARY: u32 = 0o400;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn put(folder: &Path, sha256: &str, mode: u32, age: u64) {
        let path = folder.join(format!("{sha256}.zst"));
        std::fs::write(&path, [0; 10]).unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_least_suspicious_and_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode, age) in
            [("old", ORDINARY, 50), ("odd", SUSPICIOUS, 90), ("young", ORDINARY, 10), ("new", ORDINARY, 0)]
        {
            put(folder.path(), name, mode, age);
        }
        std::fs::write(folder.path().join(".incoming-7"), b"half").unwrap();
        let mut shelf = Shelf::open(folder.path(), 32).unwrap();
        assert!(!folder.path().join(".incoming-7").exists());
        assert_eq!(shelf.evict(&["new"]).unwrap(), ["old"]);
        assert!(shelf.touch("odd") && !shelf.touch("old"));
        let mut shelf = Shelf::open(folder.path(), 15).unwrap();
        assert_eq!(shelf.evict(&[]).unwrap(), ["young", "new"]);
    }

    #[test]
    fn nothing_goes_while_a_capture_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a", SUSPICIOUS, 1);
        let held = Flock::lock(File::open(folder.path()).unwrap(), FlockArg::LockShared).unwrap();
        let mut shelf = Shelf::open(folder.path(), 5).unwrap();
        assert!(shelf.evict(&[]).unwrap().is_empty() && shelf.is_overfull());
        drop(held);
        assert_eq!(shelf.evict(&[]).unwrap(), ["a"]);
        assert!(!shelf.is_overfull());
    }

    #[test]
    fn what_somebody_has_removed_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a", SUSPICIOUS, 1);
        let mut shelf = Shelf::open(folder.path(), 100).unwrap();
        std::fs::remove_file(shelf.path("a")).unwrap();
        assert!(!shelf.touch("a"));
        assert_eq!(shelf.bytes, 0);
    }
}
