//! Our own form, for senders whose body can be written freely: flat, or in the envelope of Standard Webhooks.
//!
//! ```json
//! {"rule": "...", "severity": "high", "exe": "/tmp/x", "remote_ip": "203.0.113.45"}
//! {"type": "capture.requested", "timestamp": "...", "data": {"severity": "high", "target": {"exe": "/tmp/x"},
//!  "remote": {"ip": "203.0.113.45", "port": 4444}}}
//! ```
//!
//! Foreign senders are forgiven a value that makes no sense; whoever writes this form is told.

use serde_json::Value;

use super::adapter::{Adapted, Error};
use super::field::{self, CMDLINE_MAX, PATH_MAX};
use super::{Profile, Severity, Target, Trigger};

pub(super) fn read(body: &Value) -> Result<Adapted, Error> {
    if !body.is_object() {
        return Err(shape("a JSON object is expected".to_owned()));
    }
    let enveloped = body.get("data").filter(|data| data.is_object());
    let data = enveloped.unwrap_or(body);
    let target = field::member(data, &["target"]).filter(|target| target.is_object()).unwrap_or(data);
    let remote = field::member(data, &["remote"]).filter(|remote| remote.is_object());
    let (ip, port) = match remote {
        Some(remote) => {
            check(remote, "ip", field::address(remote, &["ip"]))?;
            check(remote, "port", field::number::<u16>(remote, &["port"]))?;
            (field::address(remote, &["ip"]), field::number(remote, &["port"]))
        }
        None => (
            check(target, "remote_ip", field::address(target, &["remote_ip"]))?,
            check(target, "remote_port", field::number(target, &["remote_port"]))?,
        ),
    };
    let severity_raw = field::word(data, &["severity_raw", "severity"]);
    let severity = field::word(data, &["severity"]);
    let rule = if enveloped.is_some() { field::word(body, &["type"]) } else { None };
    let trigger = Trigger {
        rule: rule.or_else(|| field::word(data, &["rule", "reason"])).ok_or_else(|| {
            shape("a `rule` (or `reason`) is expected: what triggered the capture".to_owned())
        })?,
        severity: check(data, "severity", severity.as_deref().and_then(Severity::from_word))?,
        severity_raw,
        time: check(data, "time", field::time(data, &["time"]))?
            .or_else(|| field::time(body, &["timestamp", "time"])),
        host: field::word(data, &["host"]),
        event_id: field::word(data, &["event_id"]),
        dedup_key: field::word(data, &["dedup_key"]),
        case: field::word(data, &["case", "case_id"]),
        profile: field::word(data, &["profile"]).as_deref().and_then(profile),
        target: Target {
            whole_host: target.get("whole_host").and_then(Value::as_bool).unwrap_or(false),
            pid: check(target, "pid", field::pid(target, &["pid"]))?,
            pid_namespace: check(target, "pid_namespace", field::pid(target, &["pid_namespace"]))?,
            process_start: check(target, "process_start", field::time(target, &["process_start"]))?,
            exe: check(target, "exe", field::bytes(target, &["exe"], PATH_MAX))?,
            process_name: check(target, "process_name", field::bytes(target, &["process_name"], PATH_MAX))?,
            cmdline: check(target, "cmdline", field::bytes(target, &["cmdline"], CMDLINE_MAX))?,
            user: field::word(target, &["user"]),
            uid: check(target, "uid", field::number(target, &["uid"]))?,
            container_id: check(target, "container_id", field::container(target, &["container_id"]))?,
            k8s_namespace: field::word(target, &["k8s_namespace"]),
            k8s_pod: field::word(target, &["k8s_pod"]),
            remote_ip: ip,
            remote_port: port,
        },
        ..Trigger::default()
    };
    Ok(trigger.into())
}

/// A field that is there must have been understood.
fn check<T>(object: &Value, name: &str, read: Option<T>) -> Result<Option<T>, Error> {
    match object.get(name) {
        Some(value) if read.is_none() && !value.is_null() => {
            let expected = match name {
                "pid" | "pid_namespace" => "a pid, 1 or more",
                "uid" => "a user number",
                "port" | "remote_port" => "a port, 0 to 65535",
                "ip" | "remote_ip" => "an IPv4 or IPv6 address",
                "time" | "process_start" => "an RFC 3339 time or nanoseconds since 1970",
                "severity" => "info, low, medium, high or critical",
                "container_id" => "a container id, at least 12 hexadecimal digits",
                _ => "a text",
            };
            Err(shape(format!("`{name}` must be {expected}")))
        }
        _ => Ok(read),
    }
}

/// An unknown profile is not a reason to lose an alert.
fn profile(word: &str) -> Option<Profile> {
    match word {
        "volatile" => Some(Profile::Volatile),
        "triage" => Some(Profile::Triage),
        "full" => Some(Profile::Full),
        _ => None,
    }
}

fn shape(what: String) -> Error {
    Error::Shape { sender: "the generic form", what }
}
