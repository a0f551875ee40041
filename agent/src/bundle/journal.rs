//! `<id>.journal`: what the collector has written down so far, one JSON object a line.

use std::io::{self, BufRead, Read};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::manifest::{Artifact, Attempt, Frozen};

/// A line longer than this was not written by us.
const LINE_MAX: u64 = 1 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The bag was begun.
    Begin {
        /// Its id.
        id: Uuid,
        /// When.
        at: Timestamp,
    },
    /// A member is wholly in the partial file.
    Member(Artifact),
    /// What became of an attempt.
    Attempt(Attempt),
    /// Processes were held still, and run again.
    Frozen(Frozen),
    /// The bag cannot be written any further.
    Fail {
        /// Why, in words.
        why: String,
    },
    /// The collector has closed the bag.
    End {
        /// Length of the partial file.
        bytes: u64,
        /// When.
        at: Timestamp,
        /// Attempts that are not listed.
        attempts_dropped: u64,
    },
    /// A sealer began.
    Seal {
        /// From here on the partial file is the sealer's.
        bytes: u64,
    },
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// When the bag was begun.
    pub begun: Option<Timestamp>,
    /// Members, in order.
    pub artifacts: Vec<Artifact>,
    /// Attempts, in order.
    pub attempts: Vec<Attempt>,
    /// What was held still, in order.
    pub frozen: Vec<Frozen>,
    /// How the collector closed the bag: length of the partial file, when, attempts dropped.
    pub end: Option<(u64, Timestamp, u64)>,
    /// Why the bag could not be written any further.
    pub failed: Option<String>,
    /// Where sealers began to write: the first such place in the file.
    pub sealed_from: Option<u64>,
    /// Length of its whole lines.
    pub bytes: u64,
}

impl Line {
    /// The line as it is written.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Journal {
    /// Reads up to the first line that is not whole.
    pub fn read(mut source: impl BufRead) -> io::Result<Self> {
        let mut journal = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            source.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                return Ok(journal);
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Begin { at, .. }) => journal.begun = Some(at),
                Ok(Line::Member(artifact)) => journal.artifacts.push(artifact),
                Ok(Line::Attempt(attempt)) => journal.attempts.push(attempt),
                Ok(Line::Frozen(frozen)) => journal.frozen.push(frozen),
                Ok(Line::Fail { why }) => journal.failed = Some(why),
                Ok(Line::End { bytes, at, attempts_dropped }) => {
                    journal.end = Some((bytes, at, attempts_dropped));
                }
                Ok(Line::Seal { bytes }) => {
                    journal.sealed_from =
                        Some(journal.sealed_from.map_or(bytes, |earlier: u64| earlier.min(bytes)));
                }
                Err(_) => return Ok(journal),
            }
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            journal.bytes = journal.bytes.saturating_add(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_ends_at_the_first_line_that_is_not_whole() {
        let at = "2026-11-20T14:00:00Z".parse().unwrap();
        let begin = Line::Begin { id: Uuid::nil(), at }.to_bytes().unwrap();
        let end = Line::End { bytes: 7, at, attempts_dropped: 0 }.to_bytes().unwrap();
        for torn in [&b"{\"att"[..], b"{\"attempt\":{}}\n", b"\0\0\0\0\n", b"\xff\n", b"[]\n"] {
            let text = [&begin[..], torn, &end].concat();
            let journal = Journal::read(&text[..]).unwrap();
            assert_eq!((journal.begun, journal.end), (Some(at), None), "{torn:?}");
        }
        let whole = Journal::read(&[&begin[..], &end].concat()[..]).unwrap();
        assert_eq!(whole.end, Some((7, at, 0)));
        let cut = Journal::read(&end[..end.len() - 1]).unwrap();
        assert_eq!(cut.end, None);
    }
}
