//! From a sender's own words to ours: one file per sender, chosen by the name in the path.

use serde_json::Value;

use super::{Trigger, alertmanager, falco, generic};

/// The senders there are, by the name in `/v1/triggers/{sender}`.
pub const SENDERS: [&str; 4] = ["falco", "alertmanager", "generic", "native"];

/// The most triggers one message may carry; what is over it is counted, not taken.
pub const TRIGGERS_MAX: usize = 32;

/// Why a body is not a trigger. The sentence goes back to the sender.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No adapter of that name.
    #[error("there is no sender `{0}`; there are falco, alertmanager and generic")]
    UnknownSender(String),
    /// Not JSON at all.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// JSON, but not what this sender sends.
    #[error("this is not what {sender} sends: {what}")]
    Shape {
        /// Whose form was expected.
        sender: &'static str,
        /// What is missing or wrong.
        what: String,
    },
}

/// What a body asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapted {
    /// One per alert; none, when no alert in it calls for a capture (all of them are resolved).
    pub triggers: Vec<Trigger>,
    /// Alerts over [`TRIGGERS_MAX`].
    pub ignored: usize,
}

/// Reads a sender's message. `message` is the id that a signed message carries in its headers.
pub fn adapt(sender: &str, body: &[u8], message: Option<&str>) -> Result<Adapted, Error> {
    let read = match sender {
        "falco" => falco::read,
        "alertmanager" => alertmanager::read,
        "generic" | "native" => generic::read,
        _ => return Err(Error::UnknownSender(crate::text::escape(sender.as_bytes()))),
    };
    let value: Value = serde_json::from_slice(body).map_err(|error| Error::Json(error.to_string()))?;
    let mut adapted = read(&value)?;
    let many = adapted.triggers.len() > 1;
    for (number, trigger) in (1..).zip(&mut adapted.triggers) {
        sender.clone_into(&mut trigger.sender);
        if let Some(message) = message {
            trigger.event_id.get_or_insert_with(|| message.to_owned());
            // Each alert of one message is an alert of its own.
            let key = if many { format!("{message}#{number}") } else { message.to_owned() };
            trigger.dedup_key.get_or_insert(key);
        }
    }
    Ok(adapted)
}

impl From<Trigger> for Adapted {
    fn from(trigger: Trigger) -> Self {
        Self { triggers: vec![trigger], ignored: 0 }
    }
}

#[cfg(test)]
#[path = "adapter_test.rs"]
mod tests;
