//! utmp, wtmp and btmp: records of who came and went (utmp(5)), in the form that glibc gives them on x86 and most other
//! machines, 384 bytes each; and lastlog, a record for each uid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a record of utmp, and of one of lastlog.
pub(crate) const RECORD: usize = 384;
pub(crate) const LAST: usize = 292;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Nothing at all: zeros.
    Blank,
    /// The run level changed; at a shutdown the line is `~` and the user `shutdown`.
    RunLevel,
    Boot,
    /// The clock was set: what it was before, and after.
    ClockBefore,
    ClockAfter,
    /// Somebody is about to log in.
    Init,
    Waiting,
    Login,
    Logout,
    Accounting,
    Unknown(i16),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) what: What,
    pub(crate) pid: i32,
    pub(crate) line: Vec<u8>,
    pub(crate) user: Vec<u8>,
    pub(crate) host: Vec<u8>,
    pub(crate) address: Option<IpAddr>,
    /// Microseconds since 1970.
    pub(crate) time: i64,
}

/// The whole records of `bytes`.
pub(crate) fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    bytes.as_chunks::<RECORD>().0.iter().map(record)
}

fn record(bytes: &[u8; RECORD]) -> Record {
    let number = |at: usize| i32::from_le_bytes(part(bytes, at));
    let kind = i16::from_le_bytes(part(bytes, 0));
    let what = match kind {
        0 => What::Blank,
        1 => What::RunLevel,
        2 => What::Boot,
        3 => What::ClockAfter,
        4 => What::ClockBefore,
        5 => What::Init,
        6 => What::Waiting,
        7 => What::Login,
        8 => What::Logout,
        9 => What::Accounting,
        other => What::Unknown(other),
    };
    Record {
        what,
        pid: number(4),
        line: text(bytes, 8, 32),
        user: text(bytes, 44, 32),
        host: text(bytes, 76, 256),
        address: address(part(bytes, 348)),
        time: i64::from(u32::from_le_bytes(part(bytes, 340))) * 1_000_000 + i64::from(number(344)),
    }
}

/// An address as the kernel has it; of an IPv4 one only the first four bytes are there.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, rest @ ..] = bytes;
    match (bytes == [0; 16], rest == [0; 12]) {
        (true, _) => None,
        (_, true) => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => Some(Ipv6Addr::from(bytes).to_canonical()),
    }
}

/// Who logged in last with one uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// Microseconds since 1970.
    pub(crate) time: i64,
    pub(crate) line: Vec<u8>,
    pub(crate) host: Vec<u8>,
}

/// A record of lastlog; none where nobody logged in.
pub(crate) fn last(bytes: &[u8; LAST]) -> Option<Last> {
    let time = i64::from(u32::from_le_bytes(part(bytes, 0))) * 1_000_000;
    (time != 0).then(|| Last { time, line: text(bytes, 4, 32), host: text(bytes, 36, 256) })
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// A field up to its first zero.
fn text(bytes: &[u8], at: usize, length: usize) -> Vec<u8> {
    let field = bytes.get(at..at.saturating_add(length)).unwrap_or_default();
    field.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// Somebody's stay, or another record, as told by records in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) record: Record,
    /// When and how it ended.
    pub(crate) until: Option<(i64, Ended)>,
    /// Its number in the file, from 0.
    pub(crate) number: usize,
    /// Whether the record before it has a later time, though the clock was not set.
    pub(crate) earlier: bool,
}

/// How a stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Logout,
    /// Somebody else came on the same line.
    Replaced,
    Shutdown,
    /// The next boot came without an end.
    Boot,
}

/// Logins with their ends, and what else there is but logouts.
pub(crate) fn stays(records: impl Iterator<Item = Record>) -> Vec<Stay> {
    let mut all: Vec<Stay> = Vec::new();
    // By line, who is there.
    let mut open: std::collections::HashMap<Vec<u8>, usize> = std::collections::HashMap::new();
    let mut last = i64::MIN;
    for (number, record) in records.enumerate() {
        let earlier = record.what != What::Blank && record.time < last;
        match record.what {
            What::Blank => {}
            What::ClockAfter => last = record.time,
            _ => last = last.max(record.time),
        }
        let own = all.len();
        let mut end = |index: usize, how| {
            if let Some(stay) = all.get_mut(index) {
                stay.until.get_or_insert((record.time, how));
            }
        };
        match record.what {
            What::Logout => {
                if let Some(index) = open.remove(&record.line) {
                    end(index, Ended::Logout);
                }
                if !earlier {
                    continue;
                }
            }
            What::Boot => {
                for (_, index) in open.drain() {
                    end(index, Ended::Boot);
                }
            }
            What::RunLevel if record.user == b"shutdown" => {
                for (_, index) in open.drain() {
                    end(index, Ended::Shutdown);
                }
            }
            What::Login => {
                if let Some(index) = open.insert(record.line.clone(), own) {
                    end(index, Ended::Replaced);
                }
            }
            _ => {}
        }
        all.push(Stay { record, until: None, number, earlier });
    }
    all
}

#[cfg(test)]
#[path = "utmp_test.rs"]
mod tests;
