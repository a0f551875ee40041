//! Containers, from what their runtimes have written down and from the names of their control groups: nobody is asked.
//! Pure: the records' bytes in, values out.

pub(crate) mod cgroup;
mod docker;
mod lxc;
mod nspawn;
mod oci;
pub(crate) mod overlay;
mod storage;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use docker::docker;
pub(crate) use lxc::lxc;
pub(crate) use nspawn::nspawn;
pub(crate) use oci::oci;
pub(crate) use storage::storage;

/// Labels, mounts and words of a command that are kept of one container.
const MANY: usize = 256;

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Runtime {
    Docker,
    Containerd,
    #[serde(rename = "cri-o")]
    Crio,
    Podman,
    Lxc,
    Nspawn,
}

/// A container, as far as one record tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Pod>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) network: String,
    /// As the runtime has written them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) created: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) started: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) finished: String,
    /// Where its root is, on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) root: String,
    /// Where what it prints is kept, on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) log: String,
    /// Its writable layer, by the name that the runtime's storage has for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) layer: String,
}

/// The pod of a cluster that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pod {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    /// What the pod calls this container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) container: String,
}

/// Something of the host's in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    pub(crate) source: String,
    pub(crate) destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
}

impl Container {
    /// Takes in what another record of the same container tells and this one does not.
    pub(crate) fn join(&mut self, other: Self) {
        let fill = |one: &mut String, two: String| {
            if one.is_empty() {
                *one = two;
            }
        };
        // Docker has its containers run by containerd.
        if self.runtime.is_none() || self.runtime == Some(Runtime::Containerd) {
            self.runtime = other.runtime.or(self.runtime);
        }
        for (one, two) in [
            (&mut self.name, other.name),
            (&mut self.image, other.image),
            (&mut self.image_id, other.image_id),
            (&mut self.user, other.user),
            (&mut self.hostname, other.hostname),
            (&mut self.network, other.network),
            (&mut self.created, other.created),
            (&mut self.started, other.started),
            (&mut self.finished, other.finished),
            (&mut self.root, other.root),
            (&mut self.log, other.log),
            (&mut self.layer, other.layer),
        ] {
            fill(one, two);
        }
        self.pod = self.pod.take().or(other.pod);
        self.privileged |= other.privileged;
        if self.command.is_empty() {
            self.command = other.command;
        }
        if self.mounts.len() < other.mounts.len() {
            self.mounts = other.mounts;
        }
        for (key, value) in other.labels {
            if self.labels.len() < MANY {
                self.labels.entry(key).or_insert(value);
            }
        }
    }
}

/// The pod that labels or annotations name.
fn pod(words: &BTreeMap<String, String>) -> Option<Pod> {
    let of = |keys: [&str; 3]| keys.iter().find_map(|key| words.get(*key)).cloned().unwrap_or_default();
    let pod = Pod {
        name: of([
            "io.kubernetes.pod.name",
            "io.kubernetes.cri.sandbox-name",
            "io.kubernetes.cri-o.KubeName",
        ]),
        namespace: of([
            "io.kubernetes.pod.namespace",
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.cri-o.Namespace",
        ]),
        uid: of(["io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid", "io.kubernetes.cri-o.PodUID"]),
        container: of([
            "io.kubernetes.container.name",
            "io.kubernetes.cri.container-name",
            "io.kubernetes.cri-o.ContainerName",
        ]),
    };
    (pod != Pod::default()).then_some(pod)
}

/// The first of them.
fn few<T>(mut all: Vec<T>) -> Vec<T> {
    all.truncate(MANY);
    all
}

#[cfg(test)]
#[path = "containers_test.rs"]
mod tests;
