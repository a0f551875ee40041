//! Falco's `http_output` (and so falcosidekick's): one alert per message, normally without a pid.

use std::net::SocketAddr;

use serde_json::Value;

use super::adapter::{Adapted, Error};
use super::field::{self, CMDLINE_MAX, PATH_MAX};
use super::{Severity, Target, Trigger};

pub(super) fn read(body: &Value) -> Result<Adapted, Error> {
    let rule = field::word(body, &["rule"])
        .ok_or_else(|| shape("an object with a `rule` is expected (is `json_output: true` set?)"))?;
    let nothing = Value::Null;
    let fields = field::member(body, &["output_fields"]).unwrap_or(&nothing);
    let severity_raw = field::word(body, &["priority"]);
    let remote = connection(fields);
    let trigger = Trigger {
        rule,
        severity: severity_raw.as_deref().and_then(Severity::from_word),
        severity_raw,
        time: field::time(body, &["time"]).or_else(|| field::time(fields, &["evt.time.iso8601", "evt.time"])),
        host: field::word(body, &["hostname"]).or_else(|| field::word(fields, &["evt.hostname"])),
        event_id: field::word(body, &["uuid"]),
        target: Target {
            pid: field::pid(fields, &["proc.pid"]),
            pid_namespace: field::pid(fields, &["proc.vpid"]),
            process_start: field::time(fields, &["proc.pid.ts"]),
            exe: field::bytes(fields, &["proc.exepath"], PATH_MAX),
            process_name: field::bytes(fields, &["proc.name"], PATH_MAX),
            cmdline: field::bytes(fields, &["proc.cmdline"], CMDLINE_MAX),
            user: field::word(fields, &["user.name"]),
            uid: field::number(fields, &["user.uid"]),
            container_id: field::container(fields, &["container.full_id", "container.id"]),
            k8s_namespace: field::word(fields, &["k8s.ns.name"]),
            k8s_pod: field::word(fields, &["k8s.pod.name"]),
            remote_ip: field::address(fields, &["fd.rip"]).or(remote.map(|remote| remote.ip())),
            remote_port: field::number(fields, &["fd.rport"]).or(remote.map(|remote| remote.port())),
            whole_host: false,
        },
        ..Trigger::default()
    };
    Ok(trigger.into())
}

/// `fd.name` of a connection is `client:port->server:port`; the far side is the one that is not `fd.lip`.
fn connection(fields: &Value) -> Option<SocketAddr> {
    let name = field::word(fields, &["fd.name"])?;
    let (client, server) = name.split_once("->")?;
    let (client, server): (SocketAddr, SocketAddr) = (endpoint(client)?, endpoint(server)?);
    let local = field::address(fields, &["fd.lip"]);
    Some(if local == Some(server.ip()) { client } else { server })
}

/// Falco writes IPv6 without brackets: the port follows the last colon.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(address, port.parse().ok()?))
}

fn shape(what: &str) -> Error {
    Error::Shape { sender: "Falco", what: what.to_owned() }
}
