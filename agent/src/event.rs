//! The vocabulary of the recorder: what happened, to which process.
//!
//! In JSON an event is one flat object with the field names of the Elastic Common Schema (ECS), so that one line of
//! the history can be read by any tool that reads ECS. Names ECS does not have start with `afterimage.`.

pub mod call;
pub mod touch;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with_string::string_serde;

use crate::text::{self, Bytes};

/// The kernel's random identity of one boot (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

/// Which process: a pid alone is reused within seconds on a busy host.
///
/// In text: `<boot id, 32 hex digits>-<pid>-<start>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// The boot it lived in.
    pub boot: BootId,
    /// The pid as the agent's own PID namespace shows it.
    pub pid: u32,
    /// Start of the thread group's leader since boot, in clock ticks (1/100 s), as field 22 of `/proc/PID/stat`.
    pub start: u64,
}

impl ProcessId {
    /// `<pid>-<start>`: unique within one boot, the name of its directory in a bundle.
    pub fn short(&self) -> String {
        format!("{}-{}", self.pid, self.start)
    }
}

/// One happening.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Record")]
pub struct Event {
    /// When it happened, on the host's wall clock (kernel boot time plus the offset at the time of reading).
    pub time: Timestamp,
    /// Who saw it.
    pub source: Source,
    /// Whom it concerns: for a fork the child, for a loss the agent.
    pub process: ProcessId,
    /// What happened.
    pub action: Action,
}

/// Who saw an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The probe, on this cpu, as its n-th record there; numbers without a break show that nothing was lost.
    Probe {
        /// The cpu that wrote the record.
        cpu: u32,
        /// The record's number on that cpu, from 0.
        seq: u64,
    },
    /// A look at /proc (what already ran when the probe was attached).
    Scan,
    /// The agent itself.
    Agent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event.action", rename_all = "lowercase")]
pub enum Action {
    /// A program was executed.
    Exec(Box<Image>),
    /// It already ran when the agent began to look.
    Running(Box<Image>),
    /// A process was created; it is still a copy of its parent.
    Fork(Fork),
    /// A process (not one of its threads) ended.
    Exit(Exit),
    /// An outbound TCP connection was asked for.
    Connect(Flow),
    /// An inbound TCP connection was accepted.
    Accept(Flow),
    /// A TCP socket began to listen (the remote address is unspecified).
    Listen(Flow),
    /// The first UDP datagram of a process to a peer.
    Datagram(Flow),
    /// A TCP connection ended.
    Close(call::Closed),
    /// A question to a name server over UDP.
    Question(call::Question),
    /// Something was asked of the kernel that changes what can be run or seen.
    Call(Box<call::Call>),
    /// Something was done to a file in a place that matters: persistence, logs.
    Touch(Box<touch::Touch>),
    /// The executable of the process was put into the stash.
    Stash(Stashed),
    /// An executable was left out of the stash on purpose; once for each state of the file.
    Skip(Skipped),
    /// Events that were not kept.
    Loss(Loss),
    /// A time in which the agent was blind, or may have been.
    Gap(Gap),
    /// The agent started, or stopped in good order.
    Agent(Agent),
}

/// A program as it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The parent at that time; `None` for the first process of a namespace, or when the parent is outside it.
    #[serde(rename = "process.parent.entity_id", skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<ProcessId>,
    /// The short name (`comm`).
    #[serde(rename = "process.name")]
    pub name: Bytes,
    /// The file, by a walk in the kernel; ends in ` (deleted)` never: see `links`.
    #[serde(rename = "process.executable")]
    pub executable: Bytes,
    /// The file's name as it was asked for: a script's own name, where an interpreter is the executable.
    #[serde(rename = "afterimage.filename", skip_serializing_if = "Bytes::is_empty", default)]
    pub filename: Bytes,
    /// The arguments, from the new program's own memory, as the kernel had copied them.
    #[serde(rename = "process.args")]
    pub args: Vec<Bytes>,
    /// Whether the arguments were longer than the probe takes.
    #[serde(rename = "afterimage.args_cut", skip_serializing_if = "is_false", default)]
    pub args_cut: bool,
    /// The working directory, by a walk in the kernel.
    #[serde(rename = "process.working_directory", skip_serializing_if = "Bytes::is_empty", default)]
    pub working_directory: Bytes,
    /// Inode number of the file.
    #[serde(rename = "file.inode", default)]
    pub inode: u64,
    /// Device of the file, as the kernel's `s_dev`: major << 20 | minor.
    #[serde(rename = "afterimage.device", default)]
    pub device: u32,
    /// When the file (its content, owner, mode or name) was last changed, as the kernel noted it. `None` where it could not
    /// be read.
    #[serde(rename = "file.ctime", skip_serializing_if = "Option::is_none", default)]
    pub changed: Option<Timestamp>,
    /// Link count of the inode: 0 is a memfd, or a file deleted before it ran. `None` where it could not be read.
    #[serde(rename = "afterimage.links", skip_serializing_if = "Option::is_none", default)]
    pub links: Option<u32>,
    /// Effective user.
    #[serde(rename = "user.id", default)]
    pub uid: u32,
    /// Real user, where it is another one: the program was given somebody's rights.
    #[serde(rename = "process.real_user.id", skip_serializing_if = "Option::is_none", default)]
    pub real_uid: Option<u32>,
    /// Effective group.
    #[serde(rename = "group.id", default)]
    pub gid: u32,
    /// The user who once logged in (audit's loginuid); `None` when nobody did or the kernel does not keep it.
    #[serde(rename = "afterimage.login_uid", skip_serializing_if = "Option::is_none", default)]
    pub login_uid: Option<u32>,
    /// Path in the cgroup v2 hierarchy, as far as the probe walked (the leaf is always there).
    #[serde(rename = "afterimage.cgroup", skip_serializing_if = "Bytes::is_empty", default)]
    pub cgroup: Bytes,
    /// Id of that cgroup, where its path was told by a record that was lost.
    #[serde(rename = "afterimage.cgroup_id", skip_serializing_if = "Option::is_none", default)]
    pub cgroup_id: Option<u64>,
    /// SHA-256 of the executable in hexadecimal, where it is in the stash already; otherwise a `stash` event tells it later.
    #[serde(rename = "process.hash.sha256", skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// Bytes of the executable, where it is in the stash already.
    #[serde(rename = "file.size", skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    /// What was done because the program has no file.
    #[serde(rename = "afterimage.hold", skip_serializing_if = "Option::is_none", default)]
    pub hold: Option<Hold>,
    /// The namespaces' inode numbers.
    #[serde(rename = "afterimage.namespaces", default)]
    pub namespaces: Namespaces,
}

/// What was done with a process whose executable has no file (a memfd, or deleted before it ran).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// It was stopped before its first instruction, until its executable was open.
    Stopped,
    /// It was not: too many are stopped, a terminal runs it, the recorder was late, or the kernel refused.
    Refused,
}

/// Inode numbers of namespaces, as `/proc/PID/ns/*` shows them; 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The PID namespace the process lives in.
    pub pid: u32,
    /// Mounts.
    pub mnt: u32,
    /// Network.
    pub net: u32,
    /// Users.
    pub user: u32,
}

/// The birth of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    /// Who forked; `None` when it is outside the agent's namespace.
    #[serde(rename = "process.parent.entity_id", skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<ProcessId>,
    /// The short name, still the parent's.
    #[serde(rename = "process.name")]
    pub name: Bytes,
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What it passed to `exit`, 0 to 255; 0 as well when a signal ended it.
    #[serde(rename = "process.exit_code")]
    pub code: u8,
    /// The signal that ended it, 0 for none.
    #[serde(rename = "afterimage.signal", default)]
    pub signal: u8,
}

/// One network conversation's beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "FlowRecord", from = "FlowRecord")]
pub struct Flow {
    /// Our side; port 0 where the kernel had not chosen it yet.
    pub local: SocketAddr,
    /// The other side.
    pub remote: SocketAddr,
}

/// A file that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stashed {
    /// Its SHA-256 in hexadecimal: its name in the stash.
    #[serde(rename = "process.hash.sha256")]
    pub sha256: String,
    /// Bytes.
    #[serde(rename = "file.size")]
    pub size: u64,
    /// The path it was run by.
    #[serde(rename = "process.executable")]
    pub executable: Bytes,
}

/// A file that was not kept, on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path it was run by.
    #[serde(rename = "process.executable")]
    pub executable: Bytes,
    /// Bytes.
    #[serde(rename = "file.size")]
    pub size: u64,
    /// Why, in words.
    #[serde(rename = "event.reason")]
    pub reason: String,
}

/// Events that were not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where: `ring`, `history`, `stash`, `nested` (the kernel skipped a program that was already running), ...
    #[serde(rename = "afterimage.loss.place")]
    pub place: String,
    /// How many.
    #[serde(rename = "afterimage.loss.count")]
    pub count: u64,
    /// The span in which it happened begins here and ends at the event's own time.
    #[serde(rename = "afterimage.loss.since")]
    pub since: Timestamp,
    /// What is known of them.
    #[serde(rename = "message")]
    pub detail: String,
}

/// A dated time without sight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its beginning; the end is the event's own time.
    #[serde(rename = "afterimage.gap.since")]
    pub since: Timestamp,
    /// Why, in words.
    #[serde(rename = "message")]
    pub reason: String,
}

/// The agent's own doings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// `started` or `stopped`.
    #[serde(rename = "afterimage.agent")]
    pub state: String,
    /// What kind of sight it has, in words.
    #[serde(rename = "message")]
    pub detail: String,
    /// At a stop: events attempted, kept and lost since its start (`capture.json` has the same of a capture's moment).
    #[serde(rename = "afterimage.counts", skip_serializing_if = "Option::is_none", default)]
    pub counts: Option<serde_json::Value>,
}

/// The event's flat form.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "@timestamp")]
    time: Timestamp,
    #[serde(flatten)]
    action: Action,
    #[serde(rename = "process.entity_id")]
    process: ProcessId,
    #[serde(rename = "afterimage.source")]
    source: Source,
}

/// The same, to be written without a copy.
#[derive(Serialize)]
struct RecordOf<'a> {
    #[serde(rename = "@timestamp")]
    time: Timestamp,
    #[serde(flatten)]
    action: &'a Action,
    #[serde(rename = "process.entity_id")]
    process: ProcessId,
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "afterimage.source")]
    source: Source,
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { time, source, process, action } = self;
        RecordOf { time: *time, action, process: *process, pid: process.pid, source: *source }
            .serialize(serializer)
    }
}

impl From<Record> for Event {
    fn from(record: Record) -> Self {
        let Record { time, action, process, source } = record;
        Self { time, source, process, action }
    }
}

#[derive(Serialize, Deserialize)]
struct FlowRecord {
    #[serde(rename = "source.ip")]
    local_ip: std::net::IpAddr,
    #[serde(rename = "source.port")]
    local_port: u16,
    #[serde(rename = "destination.ip")]
    remote_ip: std::net::IpAddr,
    #[serde(rename = "destination.port")]
    remote_port: u16,
}

impl From<Flow> for FlowRecord {
    fn from(Flow { local, remote }: Flow) -> Self {
        Self {
            local_ip: local.ip(),
            local_port: local.port(),
            remote_ip: remote.ip(),
            remote_port: remote.port(),
        }
    }
}

impl From<FlowRecord> for Flow {
    fn from(record: FlowRecord) -> Self {
        Self {
            local: SocketAddr::new(record.local_ip, record.local_port),
            remote: SocketAddr::new(record.remote_ip, record.remote_port),
        }
    }
}

/// A text that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not 32 hexadecimal digits (hyphens allowed).
    #[error("`{0}` is not a boot id: 32 hexadecimal digits are expected")]
    BootId(String),
    /// Not `<boot>-<pid>-<start>`.
    #[error("`{0}` is not a process identity: <boot id>-<pid>-<start> is expected")]
    ProcessId(String),
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0_u8; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        f.write_str(str::from_utf8(&digits).unwrap_or_default())
    }
}

impl FromStr for BootId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: String = text.trim().chars().filter(|&character| character != '-').collect();
        text::unhex(&digits)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| Error::BootId(text.to_owned()))
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.boot, self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::ProcessId(text.to_owned());
        let mut parts = text.split('-');
        let (Some(boot), Some(pid), Some(start), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        Ok(Self {
            boot: boot.parse()?,
            pid: pid.parse().map_err(|_| refuse())?,
            start: start.parse().map_err(|_| refuse())?,
        })
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_serde!(BootId, ProcessId);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

mod serde_with_string {
    /// In JSON these are what they are in text.
    macro_rules! string_serde {
        ($($name:ty),*) => {$(
            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }
            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )*};
    }
    pub(super) use string_serde;
}

#[cfg(test)]
#[path = "event/event_test.rs"]
mod tests;
