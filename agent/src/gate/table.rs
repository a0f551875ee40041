//! The files that were handed over, each in its last state. Pure.

use std::collections::{HashMap, VecDeque};

use crate::history::state::{FileId, FileState};

/// Bounded: the file handed over longest ago goes first, and is asked for again.
#[derive(Debug)]
pub(super) struct Table {
    limit: usize,
    states: HashMap<FileId, FileState>,
    order: VecDeque<FileId>,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, states: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether this file was handed over in this very state.
    pub(super) fn contains(&self, state: &FileState) -> bool {
        self.states.get(&state.file()) == Some(state)
    }

    /// Remembers it; returns whether another file had to be forgotten for it.
    pub(super) fn insert(&mut self, state: FileState) -> bool {
        if self.states.insert(state.file(), state).is_some() {
            return false;
        }
        self.order.push_back(state.file());
        let mut forgotten = false;
        while self.states.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            forgotten |= self.states.remove(&oldest).is_some();
        }
        // Files forgotten one by one leave their numbers behind.
        if self.order.len() > self.limit.saturating_mul(2) {
            self.order.retain(|file| self.states.contains_key(file));
        }
        forgotten
    }

    /// Forgets a file, whatever its state; whether it was known.
    pub(super) fn forget(&mut self, file: FileId) -> bool {
        self.states.remove(&file).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64, second: i64) -> FileState {
        FileState { device: (8, 1), inode, size: 1, changed: Some((second, 0)) }
    }

    #[test]
    fn a_file_is_known_in_its_last_state_only() {
        let mut table = Table::new(8);
        assert!(!table.insert(state(1, 1)));
        assert!(table.contains(&state(1, 1)) && !table.contains(&state(1, 2)));
        table.insert(state(1, 2));
        assert!(table.contains(&state(1, 2)) && !table.contains(&state(1, 1)));
        assert!(table.forget(state(1, 0).file()) && !table.contains(&state(1, 2)));
        assert!(!table.forget(state(1, 0).file()));
    }

    #[test]
    fn it_never_outgrows_its_bound() {
        let mut table = Table::new(4);
        for inode in 0..100 {
            assert_eq!(table.insert(state(inode, 1)), inode >= 4);
        }
        assert_eq!(table.states.len(), 4);
        assert!(table.contains(&state(99, 1)) && !table.contains(&state(1, 1)));
        for inode in 0..100 {
            table.insert(state(inode, 1));
            table.forget(state(inode, 1).file());
        }
        assert!(table.order.len() <= 8);
    }
}
