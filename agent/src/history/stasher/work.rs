//! What becomes of each question: looked for, judged, copied, answered.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::batch::Keeper;
use super::copy::{Content, Source};
use super::find::{self, Places};
use super::{Answer, Ask, Error, Limits};
use crate::history::packages::Packages;
use crate::history::policy;
use crate::history::state::FileState;
use crate::ipc;
use crate::text::Bytes;

/// Scripts and shared objects whose content is remembered.
const SEEN_MAX: usize = 4096;
const SECONDS_OF_A_MINUTE: i64 = 60;

/// The stasher at work.
pub(super) struct Worker {
    limits: Limits,
    places: Places,
    packages: Packages,
    keeper: Keeper,
    answers: Vec<Answer>,
    seen: HashMap<FileState, (String, u64)>,
}

/// What was decided about a file.
enum Decided {
    Kept(Content),
    /// Brought by a package, and nothing about it is odd.
    Ordinary,
}

impl Worker {
    pub(super) fn open(folder: &Path, limits: &Limits, places: &Places) -> Result<Self, Error> {
        Ok(Self {
            limits: limits.clone(),
            places: places.clone(),
            packages: Packages::new(&places.root),
            keeper: Keeper::open(folder, limits)?,
            answers: Vec::new(),
            seen: HashMap::new(),
        })
    }

    /// Answers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.answers.len()
    }

    /// Does what is asked; the answer waits for [`commit`](Self::commit).
    pub(super) fn take(&mut self, ask: Ask, files: Vec<OwnedFd>) {
        let ticket = ask.ticket();
        let decided = match ask {
            Ask::File { path, .. } => {
                let handle = files.into_iter().next().ok_or(Error::NoDescriptor);
                handle.and_then(|handle| self.judged(&handle, &path, false))
            }
            Ask::Owned { path, state, .. } => find::owned(&self.places, path.as_slice(), &state)
                .and_then(|handle| self.keeper.keep(&mut Source::open(&handle)?, false))
                .map(Decided::Kept),
            Ask::Script { process, path, ours, always, .. } => {
                let found = find::script(&self.places, process, path.as_slice(), ours);
                match found.and_then(|handle| self.judged_once(&handle, &path, always)) {
                    // Scripts of packages are everywhere: none of them is worth a word.
                    Ok(Decided::Ordinary) => return self.answers.push(Answer::Done { ticket }),
                    other => other,
                }
            }
            Ask::Libraries { process, .. } => {
                for (path, handle) in find::libraries(&self.places, process).unwrap_or_default() {
                    let path = Bytes(path);
                    if let Ok(Decided::Kept(Content { sha256, size })) =
                        self.judged_once(&handle, &path, true)
                    {
                        self.answers.push(Answer::Library { ticket, path, sha256, size });
                    }
                }
                return self.answers.push(Answer::Done { ticket });
            }
        };
        self.answers.push(match decided {
            Ok(Decided::Kept(Content { sha256, size })) => Answer::Kept { ticket, sha256, size },
            Ok(Decided::Ordinary) => {
                let reason = "a package of the distribution brought it, and nobody has changed it since";
                Answer::Skipped { ticket, reason: reason.to_owned() }
            }
            Err(failure) => {
                let again = !matches!(failure, Error::TooLarge(_));
                Answer::Failed { ticket, reason: failure.to_string(), again }
            }
        });
    }

    /// Keeps it, unless it is ordinary; with `always`, also then.
    fn judged(&mut self, handle: &OwnedFd, path: &Bytes, always: bool) -> Result<Decided, Error> {
        let mut source = Source::open(handle)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let recent = i64::from(self.limits.recent_minutes).saturating_mul(SECONDS_OF_A_MINUTE);
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let odd = policy::odd(path.as_slice(), &source.known, now, recent);
        let is_ordinary = odd.is_none() && self.limits.skip_packages;
        if is_ordinary && !always && self.packages.own(path.as_slice(), &source.known) {
            return Ok(Decided::Ordinary);
        }
        self.keeper.keep(&mut source, odd.is_some() || always).map(Decided::Kept)
    }

    /// The same for what is found again and again: one state of a file is read once.
    fn judged_once(&mut self, handle: &OwnedFd, path: &Bytes, always: bool) -> Result<Decided, Error> {
        let known = crate::system::process::statx(handle, c"");
        let known = known.map_err(super::error("look at", Path::new("a file that was found")))?;
        let state = FileState::of(&known);
        if let Some((sha256, size)) = self.seen.get(&state).cloned() {
            return Ok(Decided::Kept(Content { sha256, size }));
        }
        let decided = self.judged(handle, path, always)?;
        if let Decided::Kept(Content { sha256, size }) = &decided {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(state, (sha256.clone(), *size));
        }
        Ok(decided)
    }

    /// Brings the copies to the disk, and answers.
    pub(super) fn commit(&mut self, channel: &ipc::Channel) -> Result<(), ipc::Error> {
        match self.keeper.commit() {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => {
                self.seen.clear();
                self.answers.insert(0, Answer::Evicted { sha256: gone });
            }
            Err(failure) => {
                // Nothing of this batch is sure: the files are asked for again.
                self.seen.clear();
                let reason = failure.to_string();
                for answer in &mut self.answers {
                    if let Answer::Kept { ticket, .. } | Answer::Library { ticket, .. } = *answer {
                        *answer = Answer::Failed { ticket, reason: reason.clone(), again: true };
                    }
                }
            }
        }
        self.answers.drain(..).try_for_each(|answer| channel.send(&answer, &[]))
    }
}
