//! `data/cloud/identity.json`: which machine of which cloud this is, from the firmware's tables and from what cloud-init left. No
//! metadata service is asked: its answers are credentials, and asking is seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::Context;
use super::attempts::{Attempts, Found, Miss, read_bounded};
use super::file::text;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::text::{Bytes, escape};

/// What the firmware says.
const DMI: &[&str] = &[
    "sys_vendor",
    "product_name",
    "product_version",
    "product_uuid",
    "product_serial",
    "product_family",
    "board_vendor",
    "board_asset_tag",
    "chassis_vendor",
    "chassis_asset_tag",
    "bios_vendor",
    "bios_version",
];
/// What cloud-init writes down, each one line.
const LINES: &[(&str, &str)] = &[
    ("cloud_id", "/run/cloud-init/cloud-id"),
    ("instance_id", "/var/lib/cloud/data/instance-id"),
    ("previous_instance_id", "/var/lib/cloud/data/previous-instance-id"),
    ("datasource", "/var/lib/cloud/instance/datasource"),
    ("datasource", "/var/lib/cloud/data/previous-datasource"),
    ("hostname", "/var/lib/cloud/data/previous-hostname"),
];
/// What cloud-init knows of the instance; without what it marks as sensitive.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";
/// Which keys of its `v1`.
const KEYS: &[&str] = &[
    "cloud_name",
    "cloud_id",
    "instance_id",
    "instance_type",
    "region",
    "availability_zone",
    "local_hostname",
    "platform",
    "subplatform",
    "image_id",
    "distro",
    "distro_version",
    "machine",
];
/// Who can be told by the firmware's words.
const CLOUDS: &[(&str, &str)] = &[
    ("amazon ec2", "aws"),
    ("amazon", "aws"),
    ("google compute engine", "gcp"),
    ("google", "gcp"),
    // Azure's asset tag; Hyper-V elsewhere does not have it.
    ("7783-7084-3265-9085-8269-3286-77", "azure"),
    ("digitalocean", "digitalocean"),
    ("hetzner", "hetzner"),
    ("oraclecloud.com", "oracle"),
    ("alibaba cloud", "alibaba"),
    ("openstack", "openstack"),
    ("scaleway", "scaleway"),
    ("vultr", "vultr"),
    ("upcloud", "upcloud"),
    ("linode", "linode"),
    ("akamai", "linode"),
];
const TEXT_MAX: u64 = 1 << 20;
/// Bytes of one value.
const VALUE_MAX: usize = 4096;

/// All of it.
#[derive(Debug, Default, Serialize)]
struct Identity {
    /// Whose cloud, by the firmware, else by cloud-init.
    cloud: Option<String>,
    /// Its number there: the first of those that were found.
    instance_id: Option<Bytes>,
    firmware: BTreeMap<&'static str, Bytes>,
    cloud_init: BTreeMap<String, Bytes>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let places = &context.job.places;
    let until = Instant::now() + Duration::from_secs(5);
    let walker = Walker::new(&places.root, &places.proc, 1_000, until);
    let mut lacks = Vec::new();
    let firmware = if context.job.facts.initial_pid_namespace {
        firmware(context)
    } else {
        lacks.push(
            "firmware: it belongs to the whole machine, and the agent lives in a PID namespace of its own"
                .to_owned(),
        );
        BTreeMap::new()
    };
    let cloud_init = cloud_init(&walker, &mut lacks);
    if firmware.is_empty() && cloud_init.is_empty() {
        if lacks.is_empty() {
            return Ok(());
        }
        return attempts.miss("identity of the instance", Miss::refused(lacks.join("; ")));
    }
    let identity = identify(firmware, cloud_init);
    attempts.take("identity of the instance", &Name::data(&["cloud", "identity.json"]), |_| {
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        let note = identity.cloud.clone().unwrap_or_else(|| "no cloud that is known".to_owned());
        Ok(Found::json(&identity)?.lacking(lack).noting(note))
    })?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "they are in /sys, the kernel's")]
fn firmware(context: &Context<'_>) -> BTreeMap<&'static str, Bytes> {
    let folder = context.job.places.root.join("sys/class/dmi/id");
    let read = |name: &&'static str| {
        let (bytes, _) = read_bounded(File::open(folder.join(name)).ok()?, 4096).ok()?;
        let value = bytes.trim_ascii();
        (!value.is_empty()).then(|| (*name, Bytes::from(value)))
    };
    DMI.iter().filter_map(read).collect()
}

fn cloud_init(walker: &Walker, lacks: &mut Vec<String>) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    let mut read = |path: &str| {
        // `instance` is a link of cloud-init's own.
        let entry = walker.resolve(path.as_bytes());
        match entry.and_then(|entry| text(&entry.fd, &walker.remote, TEXT_MAX)) {
            Ok((bytes, _)) => Some(bytes),
            Err(miss) => {
                if miss.outcome != Outcome::Gone {
                    lacks.push(format!("{}: {}", escape(path.as_bytes()), miss.detail));
                }
                None
            }
        }
    };
    for (key, path) in LINES {
        let Some(bytes) = read(path) else { continue };
        let line = bytes.trim_ascii();
        if !line.is_empty() {
            let line = line.get(..VALUE_MAX).unwrap_or(line);
            all.entry((*key).to_owned()).or_insert_with(|| Bytes::from(line));
        }
    }
    let data: Option<Value> = read(INSTANCE_DATA).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    for key in KEYS {
        let value = data.as_ref().and_then(|data| data.get("v1")?.get(key)?.as_str());
        if let Some(value) = value.filter(|value| !value.is_empty() && value.len() <= VALUE_MAX) {
            all.entry((*key).to_owned()).or_insert_with(|| Bytes::from(value));
        }
    }
    all
}

fn identify(firmware: BTreeMap<&'static str, Bytes>, cloud_init: BTreeMap<String, Bytes>) -> Identity {
    let said: Vec<String> = firmware.values().map(|value| value.to_string().to_ascii_lowercase()).collect();
    let known = CLOUDS.iter().find(|(word, _)| said.iter().any(|value| value.contains(word)));
    let told = ["cloud_id", "cloud_name"].iter().find_map(|key| cloud_init.get(*key));
    let cloud = known.map(|(_, cloud)| (*cloud).to_owned()).or_else(|| told.map(ToString::to_string));
    // On EC2 the asset tag of the board is the instance's number.
    let tag = firmware.get("board_asset_tag").filter(|tag| tag.as_slice().starts_with(b"i-"));
    let instance_id = cloud_init.get("instance_id").or(tag).cloned();
    Identity { cloud, instance_id, firmware, cloud_init }
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;
