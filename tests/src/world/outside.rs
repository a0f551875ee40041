//! The outer half: bubblewrap, its limits and its deadline.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use super::cgroups::Own;
use super::{BIN, DEBIAN, INSIDE, LIFETIME, MARKER, OUT, OUTSIDE, PYTHON, pid_namespace};
use crate::wait;

/// Whoever loads BPF on this machine holds this lock.
const LOCK: &str = "/tmp/afterimage-probe.lock";
const MIB: u64 = 1024 * 1024;
/// What of sysfs says whether the kernel has kprobes: the list, and where its entry for them leads.
const EVENT_SOURCES: [&str; 2] = ["/sys/bus/event_source/devices", "/sys/devices/kprobe"];
/// Every folder of the world that can be written, and how much it holds.
const FOLDERS: [(&str, u64); 7] = [
    ("/tmp", 256 * MIB),
    ("/etc", MIB),
    ("/root", 16 * MIB),
    ("/home", 256 * MIB),
    ("/var", 1024 * MIB),
    ("/run", 16 * MIB),
    ("/srv", 64 * MIB),
];

/// Starts this executable again in a world, for the test `name`.
pub(super) fn run(name: &str, results: Option<&Path>) -> Result<()> {
    ensure!(Uid::effective().is_root(), "a world in which BPF is loaded needs root: run this as root");
    let lock = File::create(LOCK).with_context(|| format!("open {LOCK}"))?;
    let _one_probe_at_a_time = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("lock {LOCK}"))?;
    let out = tempfile::Builder::new().prefix("afterimage-world-").tempdir()?;
    let own = Own::create()?;
    let mut child = own
        .inside(&bubblewrap(name, out.path())?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start bwrap: `cargo xtask setup` installs it (Debian package bubblewrap)")?;
    let console = child.stdout.take().context("no stdout")?;
    let marker = format!("{MARKER}{name}");
    let reader = thread::spawn(move || saw(console, &marker));
    let status = wait_or_end(&mut child)?;
    let saw_marker = reader.join().unwrap_or(false);
    if let Some(results) = results {
        copy(out.path(), results)?;
    }
    ensure!(status, "the world of `{name}` failed: its own words are above");
    ensure!(saw_marker, "the world of `{name}` ended well, but the test's body did not run in it");
    Ok(())
}

fn bubblewrap(name: &str, out: &Path) -> Result<Command> {
    let itself = env::current_exe().context("find this test's executable")?;
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"])
        .args([
            "--hostname",
            "victim",
            "--die-with-parent",
            "--new-session",
            "--cap-add",
            "ALL",
            "--clearenv",
        ])
        .args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"])
        .args(["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"])
        .args(["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/sys/kernel/btf", "/sys/kernel/btf"])
        .args(["--dev-bind-try", "/dev/fuse", "/dev/fuse"])
        .args(EVENT_SOURCES.iter().flat_map(|path| ["--ro-bind-try", path, path]));
    for (folder, size) in FOLDERS {
        command.args(["--size", &size.to_string(), "--tmpfs", folder]);
    }
    command.arg("--bind").arg(out).arg(OUT).arg("--ro-bind").arg(binaries()?).arg(BIN);
    command.arg("--ro-bind").arg(&itself).arg("/out/test");
    for (made, place) in [("python", PYTHON), ("debian.tar", DEBIAN)] {
        if let Some(made) = made_by_setup(made) {
            command.arg("--ro-bind").arg(made).arg(place);
        }
    }
    command
        .args(["--remount-ro", "/", "--chdir", "/"])
        .args(["--setenv", "PATH", "/out/bin:/usr/sbin:/usr/bin", "--setenv", "HOME", "/root"])
        .args(["--setenv", "LANG", "C.UTF-8", "--setenv", INSIDE, name])
        .args(["--setenv", OUTSIDE, &pid_namespace()?])
        .args(["/out/test", "--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"]);
    Ok(command)
}

/// The folder with the static binaries.
pub fn binaries() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/static/x86_64-unknown-linux-gnu/debug");
    let folder = env::var_os("AFTERIMAGE_BINARIES").map_or(built, PathBuf::from);
    if !folder.join("afterimage").exists() {
        bail!("no static binaries in {}: `cargo xtask test` builds them, and runs this", folder.display());
    }
    Ok(folder.canonicalize()?)
}

/// What `cargo xtask setup` makes below target/.
fn made_by_setup(name: &str) -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name).canonicalize().ok()
}

/// Passes on what the world says; whether the marker was among it.
fn saw(console: ChildStdout, marker: &str) -> bool {
    let mut found = false;
    for line in BufReader::new(console).lines().map_while(Result::ok) {
        if line == marker {
            found = true;
        } else {
            println!("  {line}");
        }
    }
    found
}

/// Whether it succeeded; a world that outlives its time is ended (`--die-with-parent` ends all in it).
fn wait_or_end(child: &mut Child) -> Result<bool> {
    let ended = wait::until("the end of the world", LIFETIME, || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    Ok(ended?.success())
}

/// Plain files of `from`, not the mounts' empty shadows.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
