//! One bundle: into `<name>.part`, resumed where it broke off, compared with its hash, renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, RenameFlags, renameat2};
use sha2::{Digest, Sha256};

use super::super::{Error, Exit};
use super::client::Client;
use super::file_name;
use crate::ipc::message::BundleState;
use crate::text;

/// Connections without a single byte that are made in a row.
const VAIN: u32 = 5;
/// The pause after one.
const PAUSE: Duration = Duration::from_secs(1);
const CHUNK: usize = 256 * 1024;

/// One bundle that is to be fetched.
pub(super) struct Transfer<'t> {
    pub(super) client: &'t Client,
    pub(super) bundle: &'t BundleState,
    pub(super) directory: &'t Path,
}

/// One bundle that is here, with the hash its host had said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pulled {
    pub(super) file: PathBuf,
    /// Bytes that came over the network this time.
    pub(super) fetched: u64,
}

impl Transfer<'_> {
    /// Fetches what is missing; `progress` is told the bytes that are here.
    pub(super) fn run(&self, progress: &mut dyn FnMut(u64)) -> Result<Pulled, Error> {
        let name = file_name(self.bundle);
        let (file, part) = (self.directory.join(&name), self.directory.join(format!("{name}.part")));
        if let Ok(mut here) = File::open(&file) {
            if self.is_whole(&mut here).map_err(|failure| failed("read", &file, &failure))? {
                return Ok(Pulled { file, fetched: 0 });
            }
            let words = format!(
                "{} is here already and is not the bundle that the host has: move it away, and look at both",
                file.display()
            );
            return Err(Error::failed(words));
        }
        let fail = |step| {
            let part = part.clone();
            move |failure: io::Error| failed(step, &part, &failure)
        };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&part)
            .map_err(fail("open"))?;
        let mut opened = Flock::lock(opened, FlockArg::LockExclusiveNonblock)
            .map_err(|_| Error::failed(format!("another pull writes {} now: wait for it", part.display())))?;
        let fetched = self.fetch(&mut opened, &part, progress)?;
        opened.sync_all().map_err(fail("write"))?;
        if !self.is_whole(&mut opened).map_err(fail("read"))? {
            let words = format!(
                "{} has not the hash that the host says ({}): remove it and pull again; if that does not help, the \
                 bundle is damaged over there",
                part.display(),
                self.bundle.sha256
            );
            return Err(Error { words, exit: Exit::Tampered });
        }
        let directory =
            File::open(self.directory).map_err(|failure| failed("open", self.directory, &failure))?;
        // Never over something that came in the meantime.
        renameat2(
            &directory,
            part.file_name().unwrap_or_default(),
            &directory,
            name.as_str(),
            RenameFlags::RENAME_NOREPLACE,
        )
        .map_err(|errno| failed("rename", &part, &errno.into()))?;
        directory.sync_all().map_err(|failure| failed("write", self.directory, &failure))?;
        Ok(Pulled { file, fetched })
    }

    fn fetch(&self, file: &mut File, part: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        let fail = |failure: io::Error| failed("write", part, &failure);
        let mut here = file.metadata().map_err(fail)?.len();
        if here > self.bundle.size {
            file.set_len(0).map_err(fail)?;
            here = 0;
        }
        let (mut fetched, mut vain) = (0_u64, 0);
        while here < self.bundle.size {
            let before = fetched;
            let trouble = match self.client.content(self.bundle, here) {
                Ok(mut answer) => {
                    here = answer.start;
                    file.set_len(here).and_then(|()| file.seek(SeekFrom::Start(here))).map_err(fail)?;
                    let end = self
                        .copy(&mut answer.bytes, file, &mut here, &mut fetched, progress)
                        .map_err(fail)?;
                    end.map(|failure| Error::failed(format!("the bundle broke off: {failure}")))
                }
                Err(error) => Some(error),
            };
            vain = if fetched > before { 0 } else { vain + 1 };
            match trouble {
                Some(error) if vain >= VAIN => return Err(error),
                Some(_) if vain > 0 => std::thread::sleep(PAUSE),
                None if here < self.bundle.size && vain >= VAIN => {
                    return Err(Error::failed("the host sends less than the whole bundle, again and again"));
                }
                _ => {}
            }
        }
        Ok(fetched)
    }

    /// Copies until the bundle is whole or its source ends; the answer is why it ended early.
    fn copy(
        &self,
        bytes: &mut dyn Read,
        file: &mut File,
        here: &mut u64,
        fetched: &mut u64,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Option<io::Error>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            progress(*here);
            // Not a byte more than was announced: the other side does not fill our disk.
            let room = self.bundle.size.saturating_sub(*here).min(u64::try_from(CHUNK).unwrap_or(u64::MAX));
            let room = buffer.get_mut(..usize::try_from(room).unwrap_or(0)).unwrap_or_default();
            match bytes.read(room) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    file.write_all(room.get(..read).unwrap_or_default())?;
                    let read = u64::try_from(read).unwrap_or(0);
                    *here = here.saturating_add(read);
                    *fetched = fetched.saturating_add(read);
                }
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
                Err(failure) => return Ok(Some(failure)),
            }
        }
    }

    fn is_whole(&self, file: &mut File) -> io::Result<bool> {
        file.seek(SeekFrom::Start(0))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(text::hex(&hash.finalize()) == self.bundle.sha256),
                read => hash.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    }
}

fn failed(step: &str, path: &Path, failure: &io::Error) -> Error {
    Error::failed(format!("cannot {step} {}: {failure}", path.display()))
}
