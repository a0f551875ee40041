//! LXC's settings of one container: `key = value`, a key may come more than once.

use super::{Container, MANY, Mount, Runtime};

/// The settings of container `name`, which is the name of the folder they lie in.
pub(crate) fn lxc(text: &[u8], name: &str) -> Option<Container> {
    let text = String::from_utf8_lossy(text);
    let mut found = Container {
        id: name.to_owned(),
        name: name.to_owned(),
        runtime: Some(Runtime::Lxc),
        ..Container::default()
    };
    let mut is_one = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().to_owned());
        is_one |= key.starts_with("lxc.");
        match key {
            "lxc.uts.name" | "lxc.utsname" => found.hostname = value,
            // `overlay:/lower:/upper`, `dir:/path`.
            "lxc.rootfs.path" | "lxc.rootfs" => {
                found.root = value.rsplit(':').next().unwrap_or_default().to_owned()
            }
            "lxc.init.cmd" | "lxc.execute.cmd" => {
                found.command = value.split_whitespace().take(MANY).map(str::to_owned).collect();
            }
            "lxc.mount.entry" if found.mounts.len() < MANY => found.mounts.extend(mount(&value)),
            "lxc.net.0.type" | "lxc.network.type" => found.network = value,
            "lxc.console.logfile" | "lxc.log.file" if found.log.is_empty() => found.log = value,
            _ => {}
        }
    }
    is_one.then_some(found)
}

/// As in fstab(5).
fn mount(value: &str) -> Option<Mount> {
    let mut fields = value.split_whitespace();
    let (source, destination, kind) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let read_only = fields.next().unwrap_or_default().split(',').any(|option| option == "ro");
    Some(Mount {
        source: source.to_owned(),
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        read_only,
    })
}
