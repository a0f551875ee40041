//! What became of the files that were seen, each in its last state. Pure.

use std::collections::{HashMap, VecDeque};

use crate::history::state::{FileId, FileState};

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the stash.
    Kept { sha256: String, size: u64 },
    /// It is left out on purpose; `said` once that is in the history.
    Skipped { reason: String, said: bool },
    /// It could not be kept.
    Failed { reason: String },
}

/// Bounded: the file that was settled longest ago goes first.
#[derive(Debug)]
pub(super) struct Known {
    limit: usize,
    files: HashMap<FileId, (FileState, Outcome)>,
    order: VecDeque<FileId>,
}

impl Known {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, files: HashMap::new(), order: VecDeque::new() }
    }

    /// What became of it in this very state.
    pub(super) fn get(&mut self, state: &FileState) -> Option<&mut Outcome> {
        self.files.get_mut(&state.file()).filter(|(known, _)| known == state).map(|(_, outcome)| outcome)
    }

    /// The last state of a file that is known.
    pub(super) fn state(&self, file: FileId) -> Option<FileState> {
        self.files.get(&file).map(|(state, _)| *state)
    }

    /// Remembers it; returns the states that had to be forgotten for it.
    pub(super) fn insert(&mut self, state: FileState, outcome: Outcome) -> Vec<FileState> {
        if self.files.insert(state.file(), (state, outcome)).is_none() {
            self.order.push_back(state.file());
        }
        let mut forgotten = Vec::new();
        while self.files.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            forgotten.extend(self.files.remove(&oldest).map(|(state, _)| state));
        }
        if self.order.len() > self.limit.saturating_mul(2) {
            self.order.retain(|file| self.files.contains_key(file));
        }
        forgotten
    }

    /// Forgets a file in whatever state.
    pub(super) fn forget(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// Forgets the files whose copies are no longer in the stash; their states.
    pub(super) fn forget_contents(&mut self, gone: &[String]) -> Vec<FileState> {
        let is_gone =
            |outcome: &Outcome| matches!(outcome, Outcome::Kept { sha256, .. } if gone.contains(sha256));
        let states: Vec<_> =
            self.files.values().filter(|(_, outcome)| is_gone(outcome)).map(|(state, _)| *state).collect();
        for state in &states {
            self.forget(state.file());
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64, second: i64) -> FileState {
        FileState { device: (8, 1), inode, size: 1, changed: Some((second, 0)) }
    }

    fn kept(sha256: &str) -> Outcome {
        Outcome::Kept { sha256: sha256.to_owned(), size: 1 }
    }

    #[test]
    fn an_outcome_holds_for_one_state_of_the_file() {
        let mut known = Known::new(4);
        known.insert(state(1, 1), kept("aa"));
        assert_eq!(known.get(&state(1, 1)), Some(&mut kept("aa")));
        assert_eq!(known.get(&state(1, 2)), None);
        assert_eq!(known.state(state(1, 9).file()), Some(state(1, 1)));
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let mut known = Known::new(2);
        assert!(known.insert(state(1, 1), kept("aa")).is_empty());
        assert!(known.insert(state(2, 1), kept("bb")).is_empty());
        assert_eq!(known.insert(state(3, 1), kept("bb")), [state(1, 1)]);
        let mut gone = known.forget_contents(&["bb".to_owned()]);
        gone.sort_by_key(|state| state.inode);
        assert_eq!(gone, [state(2, 1), state(3, 1)]);
        assert_eq!(known.get(&state(3, 1)), None);
    }
}
