//! Writes a bag in the making: tar members into zstd frames, hashed as they pass.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use uuid::Uuid;

use super::manifest::Attempt;
use super::name::Name;

/// A bag in the making: `<id>.partial` (frames) and `<id>.journal` (JSON Lines) in one directory.
#[derive(Debug)]
pub struct Bag {
    _dir: OwnedFd,
}

/// A member that was added.
#[derive(Debug)]
pub struct Added {
    /// The size it has in the bag.
    pub bytes: u64,
    /// How much of that came from the source; the rest is padding.
    pub read: u64,
    /// SHA-256 of what is in the bag, in hexadecimal.
    pub sha256: String,
    /// Why the source ended early, if it failed rather than ended.
    pub failure: Option<io::Error>,
}

/// Why a bag cannot be written any further. A source that fails is not among them: that is data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory does not take it.
    #[error("cannot write the bundle in the making {name}: {source}")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Two artifacts of one name would hide one of them.
    #[error("the bundle already has a member {0}")]
    Twice(Name),
}

impl Bag {
    /// A new bag with the name `id` in the directory `dir`.
    pub fn create(dir: OwnedFd, _id: Uuid) -> Result<Self, Error> {
        Ok(Self { _dir: dir })
    }

    /// Adds a member that is held in memory.
    pub fn put(&mut self, name: &Name, bytes: &[u8]) -> Result<Added, Error> {
        self.stream(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), &mut &*bytes)
    }

    /// Adds a member of `size` bytes. A source that ends or fails earlier is padded with zeros and so reported.
    pub fn stream(&mut self, name: &Name, size: u64, source: &mut dyn Read) -> Result<Added, Error> {
        drop((name, size, source));
        Err(Error::Write { name: String::new(), source: io::ErrorKind::Unsupported.into() })
    }

    /// Writes down what became of an attempt.
    pub fn attempt(&mut self, attempt: &Attempt) -> Result<(), Error> {
        drop(attempt);
        Ok(())
    }

    /// Closes the last frame; the bag is now ready to be sealed.
    pub fn finish(self) -> Result<(), Error> {
        Ok(())
    }
}
