//! Hashes a large member on a thread of its own, frame by frame, while others read, compress and write.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest, Sha256};

use super::buffers::Buffers;

/// Frames that wait: this much memory may be held for it.
const WAITING: usize = 2;

/// Hashes one member after the other.
pub(super) struct Hasher {
    work: SyncSender<Work>,
    /// In the frame that is being filled, where the member's bytes begin that were not handed over yet.
    from: Option<usize>,
    /// Something of it was handed over.
    away: bool,
}

enum Work {
    /// The member's bytes from here to the frame's end.
    Part(Arc<Vec<u8>>, usize),
    /// All but what is in the last frame was there.
    End(SyncSender<Sha256>),
}

impl Hasher {
    /// Starts the thread.
    pub(super) fn start(buffers: Buffers) -> io::Result<Self> {
        let (work, queue) = sync_channel(WAITING);
        thread::Builder::new().name("hash".to_owned()).spawn(move || run(&queue, &buffers))?;
        Ok(Self { work, from: None, away: false })
    }

    /// A member begins after so many bytes of the frame that is being filled.
    pub(super) fn begin(&mut self, from: usize) {
        self.from = Some(from);
    }

    /// That frame is full.
    pub(super) fn frame(&mut self, content: &Arc<Vec<u8>>) {
        if let Some(from) = &mut self.from {
            self.away = true;
            // A thread that has ended is found out at the member's end.
            drop(self.work.send(Work::Part(Arc::clone(content), std::mem::take(from))));
        }
    }

    /// The member ends with the last byte of `content`, the frame that is being filled.
    pub(super) fn end(&mut self, content: &[u8]) -> io::Result<Sha256> {
        let mut hash = if std::mem::take(&mut self.away) { self.state()? } else { Sha256::new() };
        if let Some(from) = self.from.take() {
            hash.update(content.get(from..).unwrap_or_default());
        }
        Ok(hash)
    }

    /// What the thread has come to; the next member begins anew.
    fn state(&self) -> io::Result<Sha256> {
        let gone = || io::Error::other("the thread that hashes has ended");
        let (reply, state) = sync_channel(1);
        self.work.send(Work::End(reply)).map_err(|_| gone())?;
        state.recv().map_err(|_| gone())
    }
}

fn run(queue: &Receiver<Work>, buffers: &Buffers) {
    let mut hash = Sha256::new();
    for work in queue {
        match work {
            Work::Part(content, from) => {
                hash.update(content.get(from..).unwrap_or_default());
                buffers.let_go(content);
            }
            Work::End(reply) => drop(reply.send(std::mem::take(&mut hash))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_hashed_across_frames_and_each_by_itself() {
        let bytes: Vec<u8> = (0..1000).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let mut hasher = Hasher::start(Buffers::default()).unwrap();
        for (begin, ends) in [(10, vec![300, 1000]), (0, vec![1000]), (999, vec![500, 20, 7])] {
            let mut whole = Vec::new();
            hasher.begin(begin);
            let mut from = begin;
            let (last, full) = ends.split_last().unwrap();
            for &end in full {
                whole.extend_from_slice(bytes[..end].get(from..).unwrap_or_default());
                hasher.frame(&Arc::new(bytes[..end].to_vec()));
                from = 0;
            }
            whole.extend_from_slice(&bytes[from..*last.max(&from)]);
            assert_eq!(hasher.end(&bytes[..*last]).unwrap().finalize(), Sha256::digest(&whole));
        }
        // What comes between members is nobody's.
        hasher.frame(&Arc::new(bytes.clone()));
        hasher.begin(0);
        assert_eq!(hasher.end(&bytes).unwrap().finalize(), Sha256::digest(&bytes));
    }
}
