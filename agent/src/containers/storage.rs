//! `containers.json` of the storage that podman and CRI-O share: which containers there are, of which image, and the layer
//! that each writes to.

use serde::Deserialize;

use super::{Container, Pod, few};

/// Containers of one list.
const CONTAINERS_MAX: usize = 10_000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Record {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    layer: String,
    /// JSON again.
    metadata: String,
    created: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: String,
    image_id: String,
    name: String,
    pod_name: String,
}

/// Nothing where it is no such list.
pub(crate) fn storage(text: &[u8]) -> Option<Vec<Container>> {
    let records: Vec<Record> = serde_json::from_slice(text).ok()?;
    let one = |record: Record| {
        let metadata: Metadata = serde_json::from_str(&record.metadata).unwrap_or_default();
        let name = record.names.map(few).unwrap_or_default().into_iter().next().unwrap_or(metadata.name);
        // The pod's own sandbox has its name in full.
        let pod = Pod { name: metadata.pod_name, ..Pod::default() };
        Container {
            id: record.id,
            name,
            image: metadata.image_name,
            image_id: if record.image.is_empty() { metadata.image_id } else { record.image },
            pod: (pod != Pod::default()).then_some(pod),
            created: record.created,
            layer: record.layer,
            ..Container::default()
        }
    };
    let records = records.into_iter().filter(|record| !record.id.is_empty());
    Some(records.take(CONTAINERS_MAX).map(one).collect())
}
