//! A reason to capture, and which processes it means. Pure: values in, values out.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text::Bytes;

/// A reason to capture, in our own words, whoever sent it (the `native` form).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// Who: a sender's name (`falco`, ...), `person` or `rule`.
    pub sender: String,
    /// How the sender was authenticated, in words (`bearer token falco-1`, `local socket, uid 0`).
    pub authenticated: String,
    /// The sender's rule or alert name; for a person the reason given.
    pub rule: String,
    /// The sender's own word for how bad it is.
    pub severity_raw: Option<String>,
    /// Ours.
    pub severity: Option<Severity>,
    /// When the alert says it happened.
    pub time: Option<Timestamp>,
    /// The host the sender means, if it names one.
    pub host: Option<String>,
    /// What it says of the process.
    pub target: Target,
    /// The sender's own id for this alert.
    pub event_id: Option<String>,
    /// Alerts with the same key are the same alert sent again.
    pub dedup_key: Option<String>,
    /// A case number given by a person.
    pub case: Option<String>,
    /// The profile asked for.
    pub profile: Option<Profile>,
    /// Definitions of files asked for, by name or alias; the profile's own where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
}

/// What an alert says of the process it means: mostly not a pid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// The whole host is meant.
    pub whole_host: bool,
    /// The pid on this host.
    pub pid: Option<u32>,
    /// The pid inside its container.
    pub pid_namespace: Option<u32>,
    /// When that process started.
    pub process_start: Option<Timestamp>,
    /// Path of the executable.
    pub exe: Option<Bytes>,
    /// Short name.
    pub process_name: Option<Bytes>,
    /// The command line as the sender prints it: arguments joined with spaces.
    pub cmdline: Option<Bytes>,
    /// User name.
    pub user: Option<String>,
    /// User number.
    pub uid: Option<u32>,
    /// Container id, whole or its first 12 digits at least; `host` is not one.
    pub container_id: Option<String>,
    /// Kubernetes namespace.
    pub k8s_namespace: Option<String>,
    /// Kubernetes pod.
    pub k8s_pod: Option<String>,
    /// The far side of a connection.
    pub remote_ip: Option<IpAddr>,
    /// Its port.
    pub remote_port: Option<u16>,
}

/// How bad, in our five words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth a look.
    Low,
    /// Suspicious.
    Medium,
    /// Likely an attack.
    High,
    /// An attack.
    Critical,
}

/// How much to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// History, process tree, process state, sockets: seconds, and small.
    Volatile,
    /// That, memory and code of the target, hidden files, settings and places of persistence, logs.
    #[default]
    Triage,
    /// All of it, for every process in scope, and an image of the whole RAM (where the agent sees the whole host).
    Full,
}

pub mod adapter;
mod alertmanager;
mod falco;
mod field;
mod generic;
mod hint;
pub mod resolve;
mod said;
pub mod terms;

impl Severity {
    /// The severity a sender's word means, in any case; `None` for a word nobody taught us.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "debug" | "info" | "informational" | "information" | "none" => Self::Info,
            "notice" | "low" | "minor" => Self::Low,
            "warning" | "warn" | "medium" | "moderate" => Self::Medium,
            "error" | "high" | "major" | "page" => Self::High,
            "critical" | "alert" | "emergency" | "fatal" => Self::Critical,
            _ => return None,
        })
    }
}
