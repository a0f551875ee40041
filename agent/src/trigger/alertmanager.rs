//! Prometheus Alertmanager's webhook, version 4: many alerts in one message, firing and resolved mixed.
//!
//! Each firing alert is one trigger. What a label is called is the site's convention; the usual names are read.

use serde_json::Value;

use super::adapter::{Adapted, Error, TRIGGERS_MAX};
use super::field::{self, CMDLINE_MAX, PATH_MAX};
use super::{Severity, Target, Trigger};

pub(super) fn read(body: &Value) -> Result<Adapted, Error> {
    let alerts = body.get("alerts").and_then(Value::as_array).ok_or_else(|| Error::Shape {
        sender: "Alertmanager",
        what: "an object with a list `alerts` is expected".to_owned(),
    })?;
    let firing =
        || alerts.iter().filter(|alert| field::word(alert, &["status"]).as_deref() == Some("firing"));
    Ok(Adapted {
        triggers: firing().take(TRIGGERS_MAX).map(trigger).collect(),
        ignored: firing().count().saturating_sub(TRIGGERS_MAX),
    })
}

fn trigger(alert: &Value) -> Trigger {
    let nothing = Value::Null;
    let labels = field::member(alert, &["labels"]).unwrap_or(&nothing);
    let severity_raw = field::word(labels, &["severity", "priority"]);
    let event_id = field::word(alert, &["fingerprint"]);
    // It is sent again every `repeat_interval` with the same fingerprint and start.
    let dedup_key = event_id.as_ref().and_then(|fingerprint| {
        field::word(alert, &["startsAt"]).map(|start| format!("{fingerprint}|{start}"))
    });
    Trigger {
        rule: field::word(labels, &["alertname"]).unwrap_or_else(|| "(no alertname)".to_owned()),
        severity: severity_raw.as_deref().and_then(Severity::from_word),
        severity_raw,
        time: field::time(alert, &["startsAt"]),
        host: field::word(labels, &["node", "hostname", "host", "instance"]),
        event_id,
        dedup_key,
        target: Target {
            pid: field::pid(labels, &["pid", "process_pid"]),
            exe: field::bytes(labels, &["exe", "exepath", "executable", "path"], PATH_MAX),
            process_name: field::bytes(labels, &["process_name", "comm", "process"], PATH_MAX),
            cmdline: field::bytes(labels, &["cmdline", "command_line", "command"], CMDLINE_MAX),
            user: field::word(labels, &["user", "username"]),
            uid: field::number(labels, &["uid"]),
            container_id: field::container(labels, &["container_id", "id"]),
            k8s_namespace: field::word(labels, &["namespace", "k8s_namespace"]),
            k8s_pod: field::word(labels, &["pod", "k8s_pod"]),
            remote_ip: field::address(labels, &["remote_ip", "dst_ip", "destination_ip"]),
            remote_port: field::number(labels, &["remote_port", "dst_port", "destination_port"]),
            ..Target::default()
        },
        ..Trigger::default()
    }
}
