//! Memory for copies: asked for before it is needed, as the kernel takes its time to give it out, and used for one process
//! after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::system::allocator::large_pages;

/// Pieces of memory; its clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Pieces>>);

#[derive(Debug, Default)]
struct Pieces {
    free: Vec<Vec<u8>>,
    making: Option<JoinHandle<Vec<Vec<u8>>>>,
}

impl Pool {
    /// Begins to make `count` pieces of so many bytes; whoever takes the first waits for them.
    pub(super) fn begin(&self, count: usize, length: usize) {
        let make = move || (0..count).map(|_| piece(Vec::new(), length)).collect();
        // Without a thread they are made when they are taken.
        self.lock().making = thread::Builder::new().name("make room".to_owned()).spawn(make).ok();
    }

    /// A piece of this length. What is in it means nothing.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut pieces = self.lock();
        if let Some(making) = pieces.making.take() {
            pieces.free.extend(making.join().unwrap_or_default());
        }
        let free = pieces.free.pop().unwrap_or_default();
        drop(pieces);
        piece(free, length)
    }

    /// Takes back a piece that is no longer used.
    pub(super) fn give_back(&self, piece: Vec<u8>) {
        self.lock().free.push(piece);
    }

    /// Gives all of it back: nobody copies any more.
    pub(super) fn empty(&self) {
        *self.lock() = Pieces::default();
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of this length whose pages are really there, made of `old` if that is large enough.
fn piece(old: Vec<u8>, length: usize) -> Vec<u8> {
    let mut piece = if old.capacity() >= length {
        old
    } else {
        // Never both at once.
        drop(old);
        large_pages(length)
    };
    // Not zeros: only pages that are written to are really there.
    piece.resize(length, 0xff);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_was_given_back_is_used_again_where_it_is_large_enough() {
        let pool = Pool::default();
        pool.begin(2, 8192);
        let (one, two) = (pool.take(8192), pool.take(4096));
        assert_eq!((one.len(), two.len()), (8192, 4096));
        let place = two.as_ptr();
        pool.give_back(two);
        let again = pool.take(8192);
        assert_eq!((again.len(), again.as_ptr()), (8192, place));
        pool.give_back(again);
        assert_eq!(pool.take(1 << 20).len(), 1 << 20);
        assert!(pool.lock().free.is_empty(), "one was too small, and is gone");
        pool.give_back(vec![1; 8192]);
        pool.empty();
        assert!(pool.lock().free.is_empty());
    }
}
