//! Which container a control group is, by its path: each runtime names its groups in its own way, and with each of
//! systemd's and the plain driver in another one.

use super::Runtime;
use crate::text;

/// A container's id is at least so many hexadecimal digits, where only these tell that it is one.
const DIGITS: usize = 32;
/// What is before an id in a group's name, and whose it is. What watches a container (conmon) is not in it.
const PREFIXES: &[(&str, Option<Runtime>)] = &[
    ("docker-", Some(Runtime::Docker)),
    ("cri-containerd-", Some(Runtime::Containerd)),
    ("nerdctl-", Some(Runtime::Containerd)),
    ("crio-conmon-", None),
    ("crio-", Some(Runtime::Crio)),
    ("libpod-conmon-", None),
    ("libpod-", Some(Runtime::Podman)),
];
/// What stands before a name.
const LXC: [&str; 2] = ["lxc.payload.", "lxc.monitor."];
const DELETED: &[u8] = b" (deleted)";

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) runtime: Option<Runtime>,
    pub(crate) id: String,
    /// The pod's UID, where it is in a cluster's.
    pub(crate) pod: Option<String>,
}

/// The innermost container that `path` is of.
pub(crate) fn of(path: &[u8]) -> Option<Place> {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let path = text::escape(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let pod = parts.iter().rev().find_map(|part| pod(part));
    let places = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
        one(part, before)
    });
    let (runtime, id) = places?;
    Some(Place { runtime, id, pod })
}

fn one(part: &str, before: &str) -> Option<(Option<Runtime>, String)> {
    // With containerd and systemd's driver: `SLICE:PREFIX:ID`.
    if let [_, prefix, id] = part.split(':').collect::<Vec<_>>()[..] {
        let known = PREFIXES.iter().find(|(known, _)| known.trim_end_matches('-') == prefix);
        return known.and_then(|(_, runtime)| runtime.map(|runtime| (Some(runtime), id.to_owned())));
    }
    let plain = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((prefix, runtime)) = PREFIXES.iter().find(|(prefix, _)| plain.starts_with(prefix)) {
        let id = plain.strip_prefix(prefix).filter(|id| is_id(id))?;
        return runtime.map(|runtime| (Some(runtime), id.to_owned()));
    }
    if let Some(name) =
        plain.strip_prefix(LXC[0]).or_else(|| ["lxc", "lxc.payload"].contains(&before).then_some(plain))
    {
        return (!name.is_empty()).then(|| (Some(Runtime::Lxc), name.to_owned()));
    }
    if plain.starts_with(LXC[1]) {
        return None;
    }
    if let Some(name) = nspawn(part) {
        return Some((Some(Runtime::Nspawn), name));
    }
    if !is_id(part) {
        return None;
    }
    let runtime = match before {
        "docker" => Some(Runtime::Docker),
        "libpod_parent" => Some(Runtime::Podman),
        "k8s.io" | "default" => Some(Runtime::Containerd),
        _ => None,
    };
    Some((runtime, part.to_owned()))
}

fn is_id(name: &str) -> bool {
    name.len() >= DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `machine-NAME.scope` (not those of libvirt), or `systemd-nspawn@NAME.service`, each as systemd escapes it.
fn nspawn(part: &str) -> Option<String> {
    let scope = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    let service = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    // The path was escaped by us once more.
    let name = scope.or(service)?.replace("\\\\x2d", "-");
    let is_other = scope.is_some() && (name.starts_with("qemu-") || name.starts_with("lxc-"));
    (!is_other && !name.is_empty()).then_some(name)
}

/// `pod<UID>`, `kubepods-burstable-pod<UID>.slice` with `_` for `-`.
fn pod(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let plain = part.strip_suffix(".slice").unwrap_or(part);
    let at = plain.rfind("pod").filter(|at| *at == 0 || plain.starts_with("kubepods"))?;
    let uid = plain.get(at.saturating_add(3)..)?.replace('_', "-");
    let is_uid = uid.len() >= DIGITS && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const UID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn each_runtimes_groups_are_known() {
        use Runtime::{Containerd, Crio, Docker, Lxc, Nspawn, Podman};
        let pod = UID.replace('-', "_");
        for (path, runtime, id, in_pod) in [
            (format!("/docker/{ID}"), Some(Docker), ID, false),
            (format!("/system.slice/docker-{ID}.scope"), Some(Docker), ID, false),
            (format!("/system.slice/docker-{ID}.scope/init (deleted)"), Some(Docker), ID, false),
            (format!("/kubepods/burstable/pod{UID}/{ID}"), None, ID, true),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice/cri-containerd-{ID}.scope"
                ),
                Some(Containerd),
                ID,
                true,
            ),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-besteffort-pod{pod}.slice:cri-containerd:{ID}"
                ),
                Some(Containerd),
                ID,
                true,
            ),
            (
                format!("/kubepods.slice/kubepods-pod{pod}.slice/crio-{ID}.scope/container"),
                Some(Crio),
                ID,
                true,
            ),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some(Podman), ID, false),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
                Some(Podman),
                ID,
                false,
            ),
            (format!("/libpod_parent/libpod-{ID}"), Some(Podman), ID, false),
            (format!("/k8s.io/{ID}"), Some(Containerd), ID, false),
            (format!("/ecs/task/{ID}"), None, ID, false),
            (format!("/../../system.slice/docker-{ID}.scope"), Some(Docker), ID, false),
            ("/lxc.payload.web/init.scope".to_owned(), Some(Lxc), "web", false),
            ("/lxc/web".to_owned(), Some(Lxc), "web", false),
            ("/machine.slice/machine-my\\x2dbox.scope/payload".to_owned(), Some(Nspawn), "my-box", false),
            ("/machine.slice/systemd-nspawn@box.service/payload".to_owned(), Some(Nspawn), "box", false),
            // One in another: the inner one.
            (format!("/docker/{}/docker/{ID}", ID.replace('0', "1")), Some(Docker), ID, false),
        ] {
            let place = of(path.as_bytes()).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(
                (place.runtime, place.id.as_str(), place.pod.as_deref()),
                (runtime, id, in_pod.then_some(UID)),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_no_container_is_none() {
        for path in [
            "",
            "/",
            "/init.scope",
            "/user.slice/user-0.slice/session-1.scope",
            "/system.slice/docker.service",
            "/system.slice/docker-abc.scope",
            "/system.slice/lxc.service",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            "/machine.slice/machine-.scope",
            "/lxc.monitor.web",
            "/kubepods/besteffort",
            "/docker/",
            "/a:b:c",
            "/afterimage-world-12345",
            &format!("/machine.slice/libpod-conmon-{ID}.scope"),
            &format!("/system.slice/crio-conmon-{ID}.scope"),
        ] {
            assert_eq!(of(path.as_bytes()), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered(bytes: Vec<u8>) {
            of(&bytes);
        }
    }
}
