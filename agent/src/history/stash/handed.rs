//! Files that the gate handed over and that no event has spoken of yet, by the process that executes them. Pure.

use std::collections::{HashMap, VecDeque};

use crate::event::Image;
use crate::history::state::FileState;
use crate::text::Bytes;

/// Processes; the one that was noted longest ago goes first.
const PROCESSES_MAX: usize = 16_384;
/// Files of one process: a script, its interpreter, that one's loader, and again.
const FILES_MAX: usize = 16;

/// The files of one exec.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub(super) executable: Option<(FileState, Bytes)>,
    pub(super) scripts: Vec<(FileState, Bytes)>,
}

/// Whether another file was asked for than what is executed: a script, or a link.
pub(super) fn is_indirect(image: &Image) -> bool {
    name(&image.filename) != name(&image.executable)
}

/// The last name of a path.
fn name(path: &Bytes) -> &[u8] {
    path.as_slice().rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The files by pid.
#[derive(Debug, Default)]
pub(super) struct Handed {
    files: HashMap<u32, Vec<(FileState, Bytes)>>,
    order: VecDeque<u32>,
}

impl Handed {
    /// `pid` executes this file now.
    pub(super) fn insert(&mut self, pid: u32, state: FileState, path: Bytes) {
        let files = self.files.entry(pid).or_default();
        if files.is_empty() {
            self.order.push_back(pid);
        }
        if files.len() >= FILES_MAX {
            files.remove(0);
        }
        files.push((state, path));
        while self.files.len() > PROCESSES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.files.remove(&oldest);
        }
        if self.order.len() > PROCESSES_MAX.saturating_mul(2) {
            self.order.retain(|pid| self.files.contains_key(pid));
        }
    }

    /// What was opened on the way to an exec that was seen: the executable, unless it was known, and the script.
    pub(super) fn claim(&mut self, pid: u32, image: &Image) -> Claimed {
        let Some(files) = self.files.get_mut(&pid) else { return Claimed::default() };
        let is_it = |(state, path): &(FileState, Bytes)| {
            // An overlay shows other numbers outside the kernel than inside.
            state.file() == (image.device, image.inode) || *path == image.executable
        };
        if let Some(at) = files.iter().rposition(is_it) {
            let mut all: Vec<_> = files.drain(..=at).collect();
            return Claimed { executable: all.pop(), scripts: all };
        }
        // The interpreter was known; what has the name that was asked for is the script.
        let asked = name(&image.filename);
        let scripts = files.extract_if(.., |(_, path)| !asked.is_empty() && name(path) == asked).collect();
        Claimed { executable: None, scripts }
    }

    /// The process ended; what nobody has claimed.
    pub(super) fn ended(&mut self, pid: u32) -> Vec<(FileState, Bytes)> {
        self.files.remove(&pid).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64) -> FileState {
        FileState { device: (0, 9), inode, size: 1, changed: None }
    }

    fn image(inode: u64, path: &str) -> Image {
        Image { inode, device: 9, executable: Bytes::from(path), ..Image::default() }
    }

    fn inodes(files: &[(FileState, Bytes)]) -> Vec<u64> {
        files.iter().map(|(state, _)| state.inode).collect()
    }

    #[test]
    fn a_script_comes_with_its_interpreter_and_the_loader_stays() {
        let mut handed = Handed::default();
        for (inode, path) in [(1, "/s"), (2, "/bin/sh"), (3, "/lib/ld.so")] {
            handed.insert(7, state(inode), Bytes::from(path));
        }
        let other = handed.claim(8, &image(2, "/bin/sh"));
        assert!(other.executable.is_none() && other.scripts.is_empty(), "another process: {other:?}");
        let other = handed.claim(7, &image(5, "/bin/other"));
        assert!(other.executable.is_none() && other.scripts.is_empty(), "another file: {other:?}");
        let claimed = handed.claim(7, &image(2, "/bin/sh"));
        assert_eq!(inodes(&claimed.scripts), [1]);
        assert_eq!(claimed.executable.unwrap().0.inode, 2);
        assert_eq!(inodes(&handed.ended(7)), [3]);
        assert!(handed.ended(7).is_empty());
    }

    #[test]
    fn a_script_is_known_by_its_name_where_the_interpreter_was_known() {
        let mut handed = Handed::default();
        for (inode, path) in [(1, "/srv/x.sh"), (2, "/srv/other")] {
            handed.insert(7, state(inode), Bytes::from(path));
        }
        let image = Image { filename: Bytes::from("./x.sh"), ..image(9, "/bin/sh") };
        assert!(is_indirect(&image));
        let claimed = handed.claim(7, &image);
        assert!(claimed.executable.is_none());
        assert_eq!(inodes(&claimed.scripts), [1]);
        assert!(!is_indirect(&Image { filename: Bytes::from("sh"), ..image }));
    }

    #[test]
    fn on_an_overlay_the_path_counts() {
        let mut handed = Handed::default();
        handed.insert(7, state(1), Bytes::from("/x"));
        assert_eq!(handed.claim(7, &image(99, "/x")).executable.unwrap().0.inode, 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut handed = Handed::default();
        for pid in 0..40_000 {
            handed.insert(pid, state(1), Bytes::from("/x"));
        }
        assert!(handed.files.len() <= PROCESSES_MAX && handed.order.len() <= 2 * PROCESSES_MAX);
        for inode in 0..100 {
            handed.insert(5, state(inode), Bytes::from("/x"));
        }
        assert_eq!(handed.ended(5).len(), FILES_MAX);
    }
}
