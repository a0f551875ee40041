//! Has closed segments compacted, by a process of the lowest priority that may end as it likes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::history::compact;
use crate::system::spawn;

/// The helper, while it runs.
#[derive(Default)]
pub(super) struct Compactor {
    child: Option<Child>,
    /// What was to do at its last start: what it could not do then it cannot do now.
    given: Vec<PathBuf>,
}

impl Compactor {
    /// Starts it when there is something to do and it does not run. What it leaves undone is found the next time.
    pub(super) fn turn(&mut self, history: &Path) {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) if !status.success() => {
                    tracing::warn!("compacting the history failed: {status}");
                }
                Ok(Some(_)) => {}
                Err(failure) => tracing::warn!("the history's compactor cannot be waited for: {failure}"),
            }
            self.child = None;
        }
        let due = compact::due(history);
        if due.is_empty() || due == self.given {
            return;
        }
        let arguments = [OsStr::new("compact"), history.as_os_str()];
        match spawn::ourselves(&arguments, &[], Stdio::null(), Stdio::null()) {
            Ok(child) => (self.child, self.given) = (Some(child), due),
            Err(failure) => tracing::warn!("the history cannot be compacted: {failure}"),
        }
    }
}
