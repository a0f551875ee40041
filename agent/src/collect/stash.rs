//! What the recorder kept of the executables of the processes in scope, also of those that have long exited.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Context;
use super::attempts::{Attempts, Found, Miss};
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::event::Stashed;
use crate::text;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let scope = context.plan.scope.iter().filter(|one| one.stash);
    let wanted: Vec<&Stashed> = scope
        .filter_map(|one| context.tree.get(&one.id))
        .flat_map(|node| &node.stashed)
        .filter(|stashed| seen.insert(&stashed.sha256))
        .collect();
    attempts.expect(wanted.len());
    let Some(stash) = &context.job.places.stash else {
        return attempts.miss("stash", Miss::new(Outcome::Gone, "no recorder was running, so there is none"));
    };
    wanted.into_iter().try_for_each(|stashed| copy(stash, stashed, attempts))
}

#[expect(clippy::disallowed_methods, reason = "it is the recorder's own")]
fn copy(stash: &Path, stashed: &Stashed, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let Stashed { sha256, size, executable } = stashed;
    let subject = format!("{sha256} {executable}");
    let valid = text::unhex(sha256).filter(|digest| digest.len() == 32);
    let Some(expected) = valid else {
        return attempts.miss(subject, Miss::refused("its name in the history is not a SHA-256"));
    };
    attempts.take(subject, &Name::data(&["stash", sha256]), |room| {
        if *size > room.file {
            return Err(Miss::new(Outcome::OverBudget, format!("{size} bytes")));
        }
        let file = File::open(stash.join(format!("{sha256}.zst")))
            .map_err(|error| Miss::at("open it in the stash", &error))?;
        let plain = zstd::Decoder::new(file).map_err(|error| Miss::at("decompress", &error))?;
        let source = Checked { plain, hash: Sha256::new(), left: *size, expected };
        Ok(Found::stream(source, *size))
    })?;
    Ok(())
}

/// Fails before the last bytes are handed on, when what was read is not what was stashed.
struct Checked<R> {
    plain: R,
    hash: Sha256,
    left: u64,
    expected: Vec<u8>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..limit).unwrap_or_default();
        let count = self.plain.read(room)?;
        self.hash.update(room.get(..count).unwrap_or_default());
        self.left = self.left.saturating_sub(u64::try_from(count).map_err(io::Error::other)?);
        if count > 0 && self.left == 0 && self.hash.clone().finalize().as_slice() != self.expected.as_slice()
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stash's copy has another hash"));
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "stash_test.rs"]
mod tests;
