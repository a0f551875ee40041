//! Docker's own record of a container: `config.v2.json`, with `hostconfig.json` beside it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Container, Mount, Runtime, few, pod};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    created: String,
    path: String,
    args: Option<Vec<String>>,
    image: String,
    log_path: String,
    config: Config,
    state: State,
    mount_points: Option<BTreeMap<String, Point>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: String,
    user: String,
    hostname: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    started_at: String,
    finished_at: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Point {
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: bool,
    #[serde(rename = "Type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Host {
    privileged: bool,
    network_mode: String,
}

/// Nothing where it is no such record.
pub(crate) fn docker(config: &[u8], host: &[u8]) -> Option<Container> {
    let record: Record = serde_json::from_slice(config).ok()?;
    let host: Host = serde_json::from_slice(host).unwrap_or_default();
    let labels = record.config.labels.unwrap_or_default();
    let command = std::iter::once(record.path).chain(record.args.unwrap_or_default());
    let mount = |point: Point| Mount {
        source: point.source,
        destination: point.destination,
        kind: point.kind,
        read_only: !point.writable,
    };
    // The first moment there is stands for never.
    let time = |text: String| if text.starts_with("0001-") { String::new() } else { text };
    (!record.id.is_empty()).then(|| Container {
        id: record.id,
        runtime: Some(Runtime::Docker),
        name: record.name.trim_start_matches('/').to_owned(),
        image: record.config.image,
        image_id: record.image,
        pod: pod(&labels),
        command: few(command.filter(|word| !word.is_empty()).collect()),
        user: record.config.user,
        hostname: record.config.hostname,
        labels: labels.into_iter().take(super::MANY).collect(),
        mounts: few(record.mount_points.unwrap_or_default().into_values().map(mount).collect()),
        privileged: host.privileged,
        network: host.network_mode,
        created: record.created,
        started: time(record.state.started_at),
        finished: time(record.state.finished_at),
        log: record.log_path,
        ..Container::default()
    })
}
