//! What there is to find out, read from the host.

use std::path::Path;

use crate::collect;
use crate::config::Config;
use crate::gate;
use crate::history::packages;
use crate::ipc::Channel;
use crate::recorder;
use crate::recorder::Host;
use crate::system::bpf_try;

/// Everything that is judged.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) root: bool,
    pub(super) kernel: String,
    /// Numbers of the capabilities in force (capability.h).
    pub(super) capabilities: u64,
    pub(super) initial_pid_namespace: bool,
    /// `None` where it may not be looked at.
    pub(super) btf: Option<bool>,
    /// The active security modules, comma separated; `None` where securityfs is not mounted.
    pub(super) modules: Option<String>,
    pub(super) lockdown: Option<String>,
    /// What the kernel answers to a program of this kind; `None` when it was not tried.
    pub(super) fentry: Option<Result<(), String>>,
    pub(super) lsm: Option<Result<(), String>>,
    /// `None` where sysfs does not show the kernel's event sources at all.
    pub(super) kprobes: Option<bool>,
    pub(super) kcore: bool,
    /// How an image of the whole RAM would be taken, or why not; `None` when it was not tried.
    pub(super) ram: Option<Result<String, String>>,
    /// `kernel.yama.ptrace_scope`, where there is Yama.
    pub(super) yama: Option<String>,
    pub(super) door_user: bool,
    pub(super) free_bytes: Option<u64>,
    pub(super) reserve_bytes: u64,
    pub(super) state: String,
    pub(super) recorder: bool,
    /// Whether the kernel lets us answer before a file is executed; `None` when it was not tried.
    pub(super) gate: Option<Result<(), String>>,
    pub(super) gate_enabled: bool,
    pub(super) hold: bool,
    pub(super) calls: bool,
    pub(super) places: Option<Result<(), String>>,
    pub(super) gate_file_systems: bool,
    /// The package database that is read, or why there is none.
    pub(super) packages: Result<&'static str, &'static str>,
    pub(super) skip_packages: bool,
}

impl Findings {
    pub(super) fn gather(config: &Config, root: bool) -> Self {
        let paths = &config.paths;
        let host = Host::read(config);
        let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let passwd = std::fs::read(paths.root.join("etc/passwd")).unwrap_or_default();
        let user = &config.door.user;
        let door_user =
            user.parse::<u32>().is_ok() || crate::door::user::find(&passwd, user.as_bytes()).is_some();
        let whole_host = host.as_ref().is_ok_and(|host| host.initial_pid_namespace);
        Self {
            root,
            kernel: host.as_ref().map_or_else(|_| "unknown".to_owned(), |host| host.kernel.clone()),
            capabilities: capabilities(&paths.proc),
            initial_pid_namespace: whole_host,
            btf: Path::new("/sys/kernel/btf/vmlinux").try_exists().ok(),
            modules: read("/sys/kernel/security/lsm"),
            lockdown: read("/sys/kernel/security/lockdown"),
            fentry: root.then(bpf_try::fentry),
            lsm: root.then(bpf_try::lsm),
            kprobes: kprobes(Path::new("/sys/bus/event_source")),
            kcore: std::fs::File::open(paths.proc.join("kcore")).is_ok(),
            ram: root.then(|| ram(whole_host, &paths.proc)),
            yama: read("/proc/sys/kernel/yama/ptrace_scope"),
            door_user,
            free_bytes: free(&paths.state),
            reserve_bytes: config.captures.reserve_bytes,
            state: paths.state.display().to_string(),
            recorder: Channel::connect(&paths.socket).is_ok(),
            gate: root.then(|| gate::is_possible().map_err(|failure| failure.to_string())),
            gate_enabled: config.gate.enabled,
            hold: config.probe.hold,
            calls: config.probe.calls,
            places: root.then(|| recorder::watches_places(config)),
            gate_file_systems: config.gate.file_systems,
            packages: packages::kind(&paths.root),
            skip_packages: config.stash.skip_packages,
        }
    }
}

/// The way to the whole RAM, which belongs to the whole host.
fn ram(whole_host: bool, proc: &Path) -> Result<String, String> {
    if whole_host {
        collect::way_to_ram(proc)
    } else {
        Err("it belongs to the whole machine, and this is a PID namespace of its own".to_owned())
    }
}

/// Whether kprobes are among the event sources of the kernel.
fn kprobes(sources: &Path) -> Option<bool> {
    let devices = sources.join("devices");
    devices.is_dir().then(|| devices.join("kprobe").exists())
}

/// `CapEff` of `/proc/self/status`; 0 where it cannot be read.
fn capabilities(proc: &Path) -> u64 {
    let status = std::fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// Free bytes of the nearest folder above `state` that exists.
fn free(state: &Path) -> Option<u64> {
    let folder = state.ancestors().find(|folder| folder.exists())?;
    let file = std::fs::File::open(folder).ok()?;
    crate::store::free_bytes(std::os::fd::AsFd::as_fd(&file)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kprobes_are_missing_only_where_others_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kprobes(&folder.path().join("event_source")), None);
        std::fs::create_dir_all(folder.path().join("devices/cpu")).unwrap();
        assert_eq!(kprobes(folder.path()), Some(false));
        std::fs::create_dir(folder.path().join("devices/kprobe")).unwrap();
        assert_eq!(kprobes(folder.path()), Some(true));
    }
}
