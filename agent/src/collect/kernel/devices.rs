//! What the kernel knows of its devices, modules and firmware: folders of /sys, one line for each thing in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::bundle::Outcome;
use crate::collect::attempts::{Found, Miss, read_bounded};
use crate::text::Bytes;

/// Things in one folder, names in one folder of a thing, and bytes of one attribute.
const THINGS_MAX: usize = 20_000;
const NAMES_MAX: usize = 1_000;
const VALUE_MAX: u64 = 4096;

/// A folder of things, and what is told of each: `a` is a file, `a@` a link (where it leads, without the way), `a/` a folder
/// (its names), `a/*` all files of a folder.
pub(super) struct Class {
    /// In the bag, with `.jsonl`.
    pub(super) name: &'static str,
    /// Below /sys.
    folder: &'static str,
    attributes: &'static [&'static str],
}

const PCI: &[&str] =
    &["class", "vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "irq", "driver@"];
const USB: &[&str] = &[
    "idVendor",
    "idProduct",
    "bcdDevice",
    "bDeviceClass",
    "bInterfaceClass",
    "bInterfaceProtocol",
    "manufacturer",
    "product",
    "serial",
    "speed",
    "authorized",
    "driver@",
];
const BLOCK: &[&str] = &[
    "dev",
    "size",
    "start",
    "partition",
    "ro",
    "removable",
    "queue/logical_block_size",
    "queue/rotational",
    "device/vendor",
    "device/model",
    "device/serial",
    "wwid",
    "serial",
    "dm/name",
    "dm/uuid",
    "md/level",
    "md/array_state",
    "md/raid_disks",
    "loop/backing_file",
    "backing_dev",
    "holders/",
    "slaves/",
];
const MODULE: &[&str] =
    &["initstate", "coresize", "refcnt", "taint", "version", "srcversion", "holders/", "parameters/*"];
const DMI: &[&str] = &[
    "bios_vendor",
    "bios_version",
    "bios_date",
    "sys_vendor",
    "product_name",
    "product_version",
    "product_serial",
    "product_uuid",
    "product_family",
    "product_sku",
    "board_vendor",
    "board_name",
    "board_version",
    "board_serial",
    "board_asset_tag",
    "chassis_vendor",
    "chassis_type",
    "chassis_serial",
    "chassis_asset_tag",
];
const CPU: &[&str] = &[
    "online",
    "topology/physical_package_id",
    "topology/core_id",
    "topology/thread_siblings_list",
    "cpufreq/scaling_governor",
    // Of the folder `vulnerabilities`.
    "spectre_v1",
    "spectre_v2",
    "meltdown",
    "l1tf",
    "mds",
    "retbleed",
];

pub(super) const CLASSES: &[Class] = &[
    Class { name: "pci", folder: "bus/pci/devices", attributes: PCI },
    Class { name: "usb", folder: "bus/usb/devices", attributes: USB },
    Class {
        name: "scsi",
        folder: "bus/scsi/devices",
        attributes: &["type", "vendor", "model", "rev", "driver@"],
    },
    Class { name: "block", folder: "class/block", attributes: BLOCK },
    Class { name: "dmi", folder: "class/dmi", attributes: DMI },
    Class {
        name: "rtc",
        folder: "class/rtc",
        attributes: &["name", "date", "time", "since_epoch", "hctosys"],
    },
    Class { name: "cpu", folder: "devices/system/cpu", attributes: CPU },
    Class { name: "loaded-modules", folder: "module", attributes: MODULE },
    Class {
        name: "iscsi-sessions",
        folder: "class/iscsi_session",
        attributes: &["targetname", "state", "ifacename", "initiatorname"],
    },
    Class { name: "btrfs", folder: "fs/btrfs", attributes: &["label", "metadata_uuid", "devices/"] },
    Class { name: "bpf-pins", folder: "fs/bpf", attributes: &[] },
];

#[derive(Debug, PartialEq, Serialize)]
struct Thing {
    name: Bytes,
    attributes: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Value {
    One(Bytes),
    Many(Vec<Bytes>),
}

/// The things of a class.
pub(super) fn things(sys: &Path, class: &Class, until: Instant) -> Result<Found<'static>, Miss> {
    let folder = sys.join(class.folder);
    let mut names =
        names(&folder, THINGS_MAX + 1).map_err(|error| Miss::at("list", &error).of_the_living())?;
    let more = names.len() > THINGS_MAX;
    names.truncate(THINGS_MAX);
    let (mut lines, mut late) = (Vec::new(), false);
    for name in names {
        if Instant::now() >= until {
            late = true;
            break;
        }
        let thing = thing(&folder.join(std::ffi::OsStr::from_bytes(&name)), &name, class);
        serde_json::to_writer(&mut lines, &thing)
            .map_err(|error| Miss::refused(format!("write as JSON: {error}")))?;
        lines.push(b'\n');
    }
    let lack = (more || late).then(|| Miss::new(Outcome::Partial, "there are more; the bound was reached"));
    Ok(Found::bytes(lines).lacking(lack))
}

fn thing(folder: &Path, name: &[u8], class: &Class) -> Thing {
    let mut attributes = BTreeMap::new();
    for attribute in class.attributes {
        if let Some(below) = attribute.strip_suffix("/*") {
            for file in names(&folder.join(below), NAMES_MAX).unwrap_or_default() {
                let file = String::from_utf8_lossy(&file).into_owned();
                if let Some(found) = value(&folder.join(below).join(&file)) {
                    attributes.insert(format!("{below}/{file}"), Value::One(found));
                }
            }
        } else if let Some(link) = attribute.strip_suffix('@') {
            if let Some(target) = leads(&folder.join(link)) {
                attributes.insert(link.to_owned(), Value::One(target));
            }
        } else if let Some(below) = attribute.strip_suffix('/') {
            let found = names(&folder.join(below), NAMES_MAX).unwrap_or_default();
            if !found.is_empty() {
                attributes.insert(below.to_owned(), Value::Many(found.into_iter().map(Bytes).collect()));
            }
        } else if let Some(found) = value(&folder.join(attribute)) {
            attributes.insert((*attribute).to_owned(), Value::One(found));
        }
    }
    Thing { name: Bytes::from(name), attributes }
}

#[expect(clippy::disallowed_methods, reason = "it is in /sys, the kernel's")]
fn names(folder: &Path, most: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name().as_bytes().to_vec());
    let mut names: Vec<Vec<u8>> = names.take(most).collect();
    names.sort_unstable();
    Ok(names)
}

#[expect(clippy::disallowed_methods, reason = "it is in /sys, the kernel's")]
fn value(path: &Path) -> Option<Bytes> {
    let (bytes, _) = read_bounded(File::open(path).ok()?, VALUE_MAX).ok()?;
    Some(Bytes::from(bytes.trim_ascii_end()))
}

#[expect(clippy::disallowed_methods, reason = "it is in /sys, the kernel's")]
fn leads(path: &Path) -> Option<Bytes> {
    let target = fs::read_link(path).ok()?;
    Some(Bytes::from(target.file_name()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_its_files_links_and_folders() {
        let sys = tempfile::tempdir().unwrap();
        let one = sys.path().join("module/one");
        fs::create_dir_all(one.join("parameters")).unwrap();
        fs::create_dir_all(one.join("holders/two")).unwrap();
        fs::write(one.join("refcnt"), "3\n").unwrap();
        fs::write(one.join("parameters/debug"), "N\n").unwrap();
        fs::write(one.join("unasked"), "x").unwrap();
        std::os::unix::fs::symlink("../../bus/drivers/e1000", one.join("driver")).unwrap();
        let class = Class {
            name: "m",
            folder: "module",
            attributes: &["refcnt", "parameters/*", "holders/", "driver@", "none"],
        };
        let thing = serde_json::to_value(thing(&one, b"one", &class)).unwrap();
        assert_eq!(
            thing,
            serde_json::json!({"name": "one", "attributes": {
                "refcnt": "3", "parameters/debug": "N", "holders": ["two"], "driver": "e1000"
            }})
        );
        let until = Instant::now() + std::time::Duration::from_secs(10);
        assert!(things(sys.path(), &class, until).is_ok());
        let missing = things(sys.path(), &Class { folder: "none", ..class }, until).err().unwrap();
        assert_eq!(missing.outcome, Outcome::Refused);
    }
}
