//! The stasher: an expendable process that hashes, compresses and keeps the files it is handed.
//!
//! It gets descriptors, never paths. A file it cannot finish costs that file, not the recorder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ipc;
use crate::text;

/// Bounds of the stash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes on disk, compressed; the oldest file goes first.
    pub bytes: u64,
    /// Bytes of one file, plain; a larger one is not kept.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 2 << 30, file_bytes: 256 << 20 }
    }
}

/// One file to keep; its descriptor travels along.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Returned with the answer.
    pub ticket: u64,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is in the stash.
    Kept {
        /// Of the question.
        ticket: u64,
        /// SHA-256 of the plain file in hexadecimal.
        sha256: String,
        /// Plain bytes.
        size: u64,
        /// Hashes of files that had to go for it.
        evicted: Vec<String>,
    },
    /// It is not.
    Failed {
        /// Of the question.
        ticket: u64,
        /// Why, in words.
        reason: String,
    },
}

/// Why a file could not be kept.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {step} {path}: {source}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("the file is larger than {0} bytes (stash.file_bytes)")]
    TooLarge(u64),
}

fn error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

/// Answers until the recorder closes the channel.
pub fn serve(channel: &ipc::Channel, folder: &Path, limits: &Limits) -> Result<(), ipc::Error> {
    while let Some((Ask { ticket }, descriptors)) = channel.recv::<Ask>()? {
        let kept = match descriptors.into_iter().next() {
            Some(handle) => keep(&handle, folder, limits).map_err(|failure| failure.to_string()),
            None => Err("no descriptor came with the request".to_owned()),
        };
        let answer = match kept {
            Ok(Kept { sha256, size, evicted }) => Answer::Kept { ticket, sha256, size, evicted },
            Err(reason) => Answer::Failed { ticket, reason },
        };
        channel.send(&answer, &[])?;
    }
    Ok(())
}

/// A file in the stash, and what had to go for it.
#[derive(Debug)]
struct Kept {
    sha256: String,
    size: u64,
    evicted: Vec<String>,
}

/// Puts one file into the stash. `handle` may be one that was not opened yet (`O_PATH`).
fn keep(handle: &OwnedFd, folder: &Path, limits: &Limits) -> Result<Kept, Error> {
    let own = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string());
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&own)
        .map_err(error("open the file handed over as", &own))?;
    super::make_private_folder(folder).map_err(error("make the stash", folder))?;
    let incoming = folder.join(format!(".incoming-{}", std::process::id()));
    let kept = copy(&mut source, &incoming, limits).and_then(|(sha256, size)| {
        let path = folder.join(format!("{sha256}.zst"));
        if path.exists() {
            // Seen again: it is young once more.
            let touched = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            touched.map_err(error("touch", &path))?;
        } else {
            std::fs::rename(&incoming, &path).map_err(error("name", &path))?;
        }
        Ok((sha256, size))
    });
    if let Err(failure) = std::fs::remove_file(&incoming)
        && failure.kind() != io::ErrorKind::NotFound
    {
        return Err(error("remove", &incoming)(failure));
    }
    let (sha256, size) = kept?;
    let evicted = evict(folder, limits.bytes, &sha256)?;
    Ok(Kept { sha256, size, evicted })
}

/// Hashes and compresses in one pass, so that what is named is what was read.
fn copy(source: &mut File, incoming: &Path, limits: &Limits) -> Result<(String, u64), Error> {
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(incoming);
    let target = target.map_err(error("make", incoming))?;
    let mut encoder = zstd::Encoder::new(target, 3).map_err(error("compress into", incoming))?;
    encoder.include_checksum(true).map_err(error("compress into", incoming))?;
    let mut hash = Sha256::new();
    let mut size: u64 = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = source.read(&mut buffer).map_err(error("read a file for", incoming))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if size > limits.file_bytes {
            return Err(Error::TooLarge(limits.file_bytes));
        }
        hash.update(chunk);
        encoder.write_all(chunk).map_err(error("write", incoming))?;
    }
    let target = encoder.finish().map_err(error("finish", incoming))?;
    // An empty file under a name that promises a content would stand there for ever after a power cut.
    target.sync_all().map_err(error("sync", incoming))?;
    Ok((text::hex(&hash.finalize()), size))
}

/// Removes the oldest files until the stash fits; never the one that was just asked for.
fn evict(folder: &Path, bytes: u64, newest: &str) -> Result<Vec<String>, Error> {
    let mut files = Vec::new();
    let mut total: u64 = 0;
    for entry in std::fs::read_dir(folder).map_err(error("list", folder))? {
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        total = total.saturating_add(metadata.len());
        if !entry.file_name().to_string_lossy().starts_with(newest) {
            files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut evicted = Vec::new();
    for (_, size, path) in files {
        if total <= bytes {
            break;
        }
        std::fs::remove_file(&path).map_err(error("remove", &path))?;
        total = total.saturating_sub(size);
        evicted.extend(path.file_stem().map(|hash| hash.to_string_lossy().into_owned()));
    }
    Ok(evicted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.into()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_kept_once_under_its_hash_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let Kept { sha256, size, .. } = keep(&file(b"abc"), folder.path(), &Limits::default()).unwrap();
            assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
            assert_eq!(size, 3);
            assert_eq!(names(folder.path()), [format!("{sha256}.zst")]);
            let packed = std::fs::read(folder.path().join(format!("{sha256}.zst"))).unwrap();
            assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"abc");
        }
    }

    #[test]
    fn a_file_that_is_too_large_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { file_bytes: 9, ..Limits::default() };
        let failure = keep(&file(&[0; 10]), folder.path(), &limits).unwrap_err();
        assert!(failure.to_string().contains("larger than 9 bytes"), "{failure}");
        assert!(names(folder.path()).is_empty());
        keep(&file(&[0; 9]), folder.path(), &limits).unwrap();
    }

    #[test]
    fn when_full_the_oldest_goes_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { bytes: 40, ..Limits::default() };
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (age, content) in [(30, b"one"), (20, b"two"), (10, b"six")] {
            let Kept { sha256, evicted, .. } = keep(&file(content), folder.path(), &limits).unwrap();
            gone.extend(evicted);
            let path = folder.path().join(format!("{sha256}.zst"));
            let time = SystemTime::now() - std::time::Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(time).unwrap();
            kept.push(format!("{sha256}.zst"));
        }
        let left = names(folder.path());
        assert!(!left.contains(&kept[0]) && left.contains(&kept[2]), "{left:?}");
        assert_eq!(format!("{}.zst", gone[0]), kept[0], "what went is said");
    }

    #[test]
    fn the_channel_answers_each_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = ipc::Channel::pair().unwrap();
        let path = folder.path().to_owned();
        let server =
            std::thread::spawn(move || serve(&there, &path, &Limits::default()).map_err(|e| e.to_string()));
        here.send(&Ask { ticket: 7 }, &[std::os::fd::AsFd::as_fd(&file(b"abc"))]).unwrap();
        here.send(&Ask { ticket: 8 }, &[]).unwrap();
        let answers: Vec<Answer> = (0..2).map(|_| here.recv().unwrap().unwrap().0).collect();
        assert!(matches!(&answers[0], Answer::Kept { ticket: 7, size: 3, .. }), "{answers:?}");
        assert!(matches!(&answers[1], Answer::Failed { ticket: 8, .. }), "{answers:?}");
        drop(here);
        server.join().unwrap().unwrap();
    }
}
