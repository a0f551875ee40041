//! Memory that goes round: to ask the kernel for new pages costs as much as to compress what is in them.

use std::sync::{Arc, Mutex, PoisonError};

use zstd::zstd_safe::compress_bound;

use super::layout::FRAME_MAX;
use crate::system::allocator::large_pages;

/// Buffers that nobody uses now.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty one that takes a frame's content, or the frame.
    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| large_pages(compress_bound(FRAME_MAX)))
    }

    /// One that is no longer needed.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// The same, where others may have it still: the last one gives it back.
    pub(super) fn let_go(&self, shared: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(shared) {
            self.give_back(buffer);
        }
    }
}
