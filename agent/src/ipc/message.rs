//! What our processes say to each other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::door::secrets::Secrets;
use crate::event::Event;
use crate::trigger::Trigger;

/// From a local client (`capture`, `watch`, `status`) to the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the recorder does: `Status`.
    Status,
    /// Events as they happen: `Event` after `Event`, until the client closes.
    Watch,
    /// Seal the history's open frame now: `Flushed`.
    Flush,
    /// Capture: `Accepted`, and with `wait` also `Progress` and `Sealed`.
    Capture {
        /// Why and whom.
        trigger: Box<Trigger>,
        /// Whether the bundle goes into a directory whose descriptor travels with this message.
        to_given_directory: bool,
        /// Whether the client stays until the bundle is sealed.
        wait: bool,
    },
    /// Captures, running and done: `Captures`.
    Captures,
    /// Read the tokens and webhook secrets again, and pass them to the door: `Done`.
    ReloadSecrets,
}

/// From the recorder to a local client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How the recorder does.
    Status(Value),
    /// One event, of those asked for with `Watch`.
    Event(Event),
    /// The client was too slow: so many events between the last one and the next are not passed on.
    Missed {
        /// How many.
        events: u64,
    },
    /// The history's open frame is on disk.
    Flushed,
    /// The capture will be made (or is made already: the same trigger came before).
    Accepted {
        /// Its id, and its bundle's.
        id: Uuid,
    },
    /// How far it is.
    Progress {
        /// Which.
        id: Uuid,
        /// What is being collected.
        collection: String,
        /// Steps done.
        done: u64,
        /// Steps planned.
        total: u64,
        /// Bytes taken, before compression.
        bytes: u64,
    },
    /// The bundle is sealed.
    Sealed {
        /// Which.
        id: Uuid,
        /// Its file's path, or name in the given directory.
        file: String,
        /// Its size.
        bytes: u64,
        /// SHA-256 of the file.
        sha256: String,
        /// Whether the collector came to its end.
        complete: bool,
        /// How many attempts ended how: outcome, count.
        outcomes: Vec<(String, u64)>,
    },
    /// All captures the recorder knows of, newest first.
    Captures(Vec<CaptureState>),
    /// It will not.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// It is done.
    Done,
}

/// Where a capture is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Accepted, waiting for its turn.
    Queued,
    /// Its collector runs.
    Collecting,
    /// Its bag is being closed and signed.
    Sealing,
    /// Its bundle is in the store.
    Sealed,
    /// There is no bundle; `detail` says why.
    Failed,
}

/// One capture, as the recorder knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptureState {
    /// Its id, and its bundle's.
    pub id: Uuid,
    /// When the trigger was accepted.
    pub accepted: Timestamp,
    /// Who triggered it.
    pub sender: String,
    /// By which rule.
    pub rule: String,
    /// Where it is.
    pub stage: Stage,
    /// What is being collected, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Steps done.
    pub done: u64,
    /// Steps planned.
    pub total: u64,
    /// Bytes taken, before compression.
    pub bytes: u64,
    /// Its bundle, once it is sealed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bundle: Option<BundleState>,
}

/// One sealed bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleState {
    /// Its id.
    pub id: Uuid,
    /// Its file's name.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// When it was sealed.
    pub modified: Timestamp,
    /// Whether the collector came to its end; `None` where that is not known without opening it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub complete: Option<bool>,
}

/// A part of a list, newest first: ids are UUIDv7, and so are their own order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Only what is older than this.
    pub before: Option<Uuid>,
    /// At most so many; the recorder gives no more than [`Page::MAX`].
    pub limit: u16,
}

impl Page {
    /// The longest part: so many states fit well into one message.
    pub const MAX: u16 = 200;
}

/// From the door to the recorder. Each carries a number of the door's choice, which the answer repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToRecorder {
    /// An authenticated trigger: `Accepted`, `Duplicate`, `Replay`, `Busy` or `Refused`.
    Trigger {
        /// The answer's number.
        request: u64,
        /// In our words; `dedup_key` names the alert.
        trigger: Box<Trigger>,
        /// The body as it came.
        body: Body,
        /// A signed message's own id, which must never be accepted twice: `Replay`.
        message: Option<String>,
    },
    /// Captures, newest first: `Captures`.
    Captures {
        /// The answer's number.
        request: u64,
        /// Which part.
        page: Page,
    },
    /// One capture: `Capture` or `NotFound`.
    Capture {
        /// The answer's number.
        request: u64,
        /// Which.
        id: Uuid,
    },
    /// Sealed bundles, newest first: `Bundles`.
    Bundles {
        /// The answer's number.
        request: u64,
        /// Which part.
        page: Page,
    },
    /// One sealed bundle, with its descriptor: `Bundle` or `NotFound`.
    OpenBundle {
        /// The answer's number.
        request: u64,
        /// Which.
        id: Uuid,
        /// Who asks (the token's name), for the custody record.
        reader: String,
    },
    /// How the recorder does: `Health`.
    Health {
        /// The answer's number.
        request: u64,
        /// What keeps the door in its prison, or does not.
        door: Value,
    },
}

/// From the recorder to the door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToDoor {
    /// Whom to let in. The first message, and again whenever it changes.
    Secrets(Secrets),
    /// The capture will be made.
    Accepted {
        /// Of the request.
        request: u64,
        /// The capture's id.
        id: Uuid,
    },
    /// The same alert came before, and this capture was or is made for it.
    Duplicate {
        /// Of the request.
        request: u64,
        /// The capture's id.
        id: Uuid,
    },
    /// This very message was accepted before.
    Replay {
        /// Of the request.
        request: u64,
    },
    /// Too many captures wait.
    Busy {
        /// Of the request.
        request: u64,
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// It will not.
    Refused {
        /// Of the request.
        request: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// A part of the list of captures.
    Captures {
        /// Of the request.
        request: u64,
        /// Newest first.
        captures: Vec<CaptureState>,
    },
    /// One capture.
    Capture {
        /// Of the request.
        request: u64,
        /// How it stands.
        capture: Box<CaptureState>,
    },
    /// A part of the list of bundles.
    Bundles {
        /// Of the request.
        request: u64,
        /// Newest first.
        bundles: Vec<BundleState>,
    },
    /// One bundle; its descriptor travels with the message.
    Bundle {
        /// Of the request.
        request: u64,
        /// What it is.
        bundle: BundleState,
    },
    /// There is no capture or bundle of that id.
    NotFound {
        /// Of the request.
        request: u64,
    },
    /// How the recorder does.
    Health {
        /// Of the request.
        request: u64,
        /// Whether it is ready for triggers.
        ready: bool,
        /// In words.
        health: Value,
    },
}

impl ToDoor {
    /// Which request it answers; `None` for what the recorder says unasked.
    pub fn request(&self) -> Option<u64> {
        match self {
            Self::Secrets(_) => None,
            Self::Accepted { request, .. }
            | Self::Duplicate { request, .. }
            | Self::Replay { request }
            | Self::Busy { request, .. }
            | Self::Refused { request, .. }
            | Self::Captures { request, .. }
            | Self::Capture { request, .. }
            | Self::Bundles { request, .. }
            | Self::Bundle { request, .. }
            | Self::NotFound { request }
            | Self::Health { request, .. } => Some(*request),
        }
    }
}

/// Bytes from the network, in base64: they would grow fivefold as escaped text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
