//! `config.json` of the OCI runtime specification, which containerd, CRI-O and podman write for the program that starts a
//! container. Who wrote it is told by its annotations.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Container, Mount, Runtime, few, pod};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Record {
    hostname: String,
    process: Process,
    root: Root,
    mounts: Option<Vec<Entry>>,
    annotations: Option<BTreeMap<String, String>>,
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    args: Option<Vec<String>>,
    user: User,
    capabilities: Option<Capabilities>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    bounding: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Root {
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    destination: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    options: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

/// The record of container `id`, which is the name of the folder it lies in.
pub(crate) fn oci(text: &[u8], id: &str, folder: &str) -> Option<Container> {
    let record: Record = serde_json::from_slice(text).ok()?;
    let words = record.annotations.unwrap_or_default();
    let word = |keys: &[&str]| keys.iter().find_map(|key| words.get(*key)).cloned().unwrap_or_default();
    let args = record.process.args.unwrap_or_default();
    if args.is_empty() && record.root.path.is_empty() {
        return None;
    }
    let mount = |entry: Entry| Mount {
        read_only: entry.options.unwrap_or_default().iter().any(|option| option == "ro"),
        source: entry.source,
        destination: entry.destination,
        kind: entry.kind,
    };
    // The kernel's own are in all of them.
    let is_of_host = |entry: &Entry| entry.source.starts_with('/');
    // Who may load modules and has the host's devices is as good as the host; no image needs it by default.
    let bounding = record.process.capabilities.unwrap_or_default().bounding.unwrap_or_default();
    let privileged =
        ["CAP_SYS_ADMIN", "CAP_SYS_MODULE"].iter().all(|wanted| bounding.iter().any(|one| one == wanted));
    let namespaces = record.linux.unwrap_or_default().namespaces.unwrap_or_default();
    let root = match record.root.path {
        path if path.starts_with('/') || path.is_empty() => path,
        path => format!("{folder}/{path}"),
    };
    let User { uid, gid } = record.process.user;
    Some(Container {
        id: id.to_owned(),
        runtime: Some(runtime(&words)),
        name: word(&["io.kubernetes.cri-o.Name", "nerdctl/name", "io.podman.annotations.name"]),
        image: word(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "org.opencontainers.image.ref.name",
        ]),
        image_id: word(&["io.kubernetes.cri-o.ImageRef", "io.kubernetes.cri-o.Image"]),
        pod: pod(&words),
        command: few(args),
        user: format!("{uid}:{gid}"),
        hostname: record.hostname,
        mounts: few(record.mounts.unwrap_or_default().into_iter().filter(is_of_host).map(mount).collect()),
        privileged,
        network: if namespaces.iter().any(|one| one.kind == "network") { "" } else { "host" }.to_owned(),
        created: word(&["io.kubernetes.cri-o.Created"]),
        log: word(&["io.kubernetes.cri-o.LogPath"]),
        labels: words.into_iter().take(super::MANY).collect(),
        root,
        ..Container::default()
    })
}

fn runtime(words: &BTreeMap<String, String>) -> Runtime {
    let says = |prefix: &str| words.keys().any(|key| key.starts_with(prefix));
    if says("io.kubernetes.cri-o.") {
        Runtime::Crio
    } else if says("io.podman.") || words.get("io.container.manager").is_some_and(|who| who == "libpod") {
        Runtime::Podman
    } else {
        Runtime::Containerd
    }
}
