//! The runtimes' records, and where they lie.

use std::cell::Cell;
use std::time::Instant;

use super::Table;
use crate::bundle::Outcome;
use crate::collect::attempts::Miss;
use crate::collect::file::text;
use crate::collect::passwd::homes;
use crate::collect::walk::Walker;
use crate::containers::{Container, docker, lxc, nspawn, oci, storage};
use crate::text::escape;

/// Bytes of one record; records in one folder.
const RECORD_MAX: u64 = 8 << 20;
const FOLDER_MAX: usize = 10_000;
/// Bytes of all records: whoever has a home may lay out as many as there is room for.
const RECORDS_MAX: usize = 64 << 20;

/// Where each runtime keeps them, of root's; `*` is one level.
const DOCKER: &[u8] = b"/var/lib/docker";
const TASKS: [&[u8]; 3] = [
    b"/run/containerd/io.containerd.runtime.v2.task",
    b"/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
    b"/run/k3s/containerd/io.containerd.runtime.v2.task",
];
const STORAGE: &[u8] = b"/var/lib/containers/storage";
const STORAGE_AT_HOME: &[u8] = b"/.local/share/containers/storage";
const DRIVERS: [&[u8]; 4] = [b"overlay", b"vfs", b"btrfs", b"zfs"];
const LXC: [&[u8]; 2] = [b"/var/lib/lxc", b"/var/snap/lxd/common/lxd/containers"];
const MACHINES: &[u8] = b"/run/systemd/machines";

/// What could not be read, or not be understood.
type Misses = Vec<(Vec<u8>, Miss)>;

/// Reads them all into `table`.
pub(super) fn records(walker: &mut Walker, table: &mut Table) -> Misses {
    let mut misses = Misses::new();
    let room = Cell::new(RECORDS_MAX);
    let read = |walker: &mut Walker, path: &[u8]| {
        if room.get() == 0 || Instant::now() >= walker.until {
            walker.stop(path);
            return Err(Miss::new(Outcome::Gone, "no room or time for more records"));
        }
        let found = read(walker, path);
        room.set(room.get().saturating_sub(found.as_ref().map_or(0, Vec::len)));
        found
    };
    let mut take = |path: &[u8], found: Result<Option<Vec<Container>>, Miss>| match found {
        Ok(Some(all)) => {
            for one in all {
                table.record(one, path);
            }
        }
        Ok(None) => misses.push((path.to_vec(), Miss::refused("no container's record that is understood"))),
        Err(miss) if miss.outcome == Outcome::Gone => {}
        Err(miss) => misses.push((path.to_vec(), miss)),
    };
    for id in names(walker, &join(DOCKER, b"containers")) {
        let folder = [DOCKER, b"/containers/", &id].concat();
        let path = join(&folder, b"config.v2.json");
        let host = read(walker, &join(&folder, b"hostconfig.json")).unwrap_or_default();
        take(&path, read(walker, &path).map(|config| Some(vec![docker(&config, &host)?])));
    }
    for tasks in TASKS {
        for namespace in names(walker, tasks) {
            for id in names(walker, &join(tasks, &namespace)) {
                let folder = join(&join(tasks, &namespace), &id);
                let path = join(&folder, b"config.json");
                take(
                    &path,
                    read(walker, &path)
                        .map(|config| Some(vec![oci(&config, &escape(&id), &escape(&folder))?])),
                );
            }
        }
    }
    let homes: Vec<Vec<u8>> = homes(walker).into_iter().map(|user| user.home).collect();
    let at_homes = homes.iter().map(|home| [home.as_slice(), STORAGE_AT_HOME].concat());
    let roots: Vec<Vec<u8>> = std::iter::once(STORAGE.to_vec()).chain(at_homes).collect();
    for (root, driver) in roots.iter().flat_map(|root| DRIVERS.map(|driver| (root, driver))) {
        let folder = [root.as_slice(), b"/", driver, b"-containers"].concat();
        let path = join(&folder, b"containers.json");
        let layer = |mut one: Container| {
            // Where the storage has the layer.
            if !one.layer.is_empty() {
                one.layer =
                    escape(&[root.as_slice(), b"/", driver, b"/", one.layer.as_bytes(), b"/diff"].concat());
            }
            one
        };
        take(&path, read(walker, &path).map(|list| Some(storage(&list)?.into_iter().map(layer).collect())));
        for id in names(walker, &folder) {
            let path = join(&join(&folder, &id), b"userdata/config.json");
            let at = join(&folder, &id);
            take(
                &path,
                read(walker, &path).map(|config| {
                    let mut one = oci(&config, &escape(&id), &escape(&at))?;
                    if one.log.is_empty() {
                        one.log = escape(&join(&at, b"userdata/ctr.log"));
                    }
                    Some(vec![one])
                }),
            );
        }
    }
    for folder in LXC {
        for name in names(walker, folder) {
            let path = join(&join(folder, &name), b"config");
            take(&path, read(walker, &path).map(|config| Some(vec![lxc(&config, &escape(&name))?])));
        }
    }
    for name in names(walker, MACHINES) {
        let path = join(MACHINES, &name);
        // Virtual machines are there as well, and each once more by its unit.
        if !name.starts_with(b"unit:") {
            take(&path, read(walker, &path).map(|record| Some(nspawn(&record).into_iter().collect())));
        }
    }
    misses
}

/// The writable layer, by what the runtime's storage says, where nobody lives in the container.
pub(super) fn upper(walker: &Walker, container: &Container) -> Option<Vec<u8>> {
    if !container.layer.is_empty() {
        return Some(container.layer.as_bytes().to_vec());
    }
    let drivers: [&[u8]; 2] = [b"overlay2", b"fuse-overlayfs"];
    drivers.into_iter().find_map(|driver| {
        let id = container.id.as_bytes();
        let path = [DOCKER, b"/image/", driver, b"/layerdb/mounts/", id, b"/mount-id"].concat();
        let mount = read(walker, &path).ok()?;
        let mount = mount.trim_ascii();
        (!mount.is_empty() && !mount.contains(&b'/'))
            .then(|| [DOCKER, b"/", driver, b"/", mount, b"/diff"].concat())
    })
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [folder, b"/", name].concat()
}

/// A file that is whole or none: half a record says nothing.
fn read(walker: &Walker, path: &[u8]) -> Result<Vec<u8>, Miss> {
    let entry = walker.resolve(path)?;
    match text(&entry.fd, &walker.remote, RECORD_MAX)? {
        (bytes, true) => Ok(bytes),
        (_, false) => Err(Miss::refused(format!("a record of more than {RECORD_MAX} bytes"))),
    }
}

/// What stands in a folder, in order; nothing where there is none.
fn names(walker: &mut Walker, folder: &[u8]) -> Vec<Vec<u8>> {
    let Ok(entry) = walker.resolve(folder) else { return Vec::new() };
    if !entry.attributes.is_dir() {
        return Vec::new();
    }
    let names = walker.names(&entry.fd).unwrap_or_default();
    let mut names: Vec<Vec<u8>> = names.into_iter().map(|(name, _)| name.into_bytes()).collect();
    names.sort_unstable();
    if names.len() > FOLDER_MAX {
        walker.lack(folder, "only its first records were read");
        names.truncate(FOLDER_MAX);
    }
    names
}
