//! The fourth scene: whatever can hide, or seem to be something else, without a change of the kernel.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::futimens;
use nix::sys::time::{TimeSpec, TimeValLike};

use crate::living::Ghost;
use crate::proc::Seen;
use crate::wait;

/// The hiding library, by the environment and by the loader's list.
pub const BY_ENVIRONMENT: &str = "/var/tmp/libhide.so";
/// The same, by another name.
pub const BY_LIST: &str = "/etc/libhide-list.so";
/// The loader's list.
pub const LIST: &str = "/etc/ld.so.preload";
/// What the library keeps out of directories' lists.
pub const KEPT_OUT: &str = "/home/afterimage-test-of-hiding";
/// A directory with something in it, over which another file system is mounted.
pub const COVERED: &str = "/srv/covered";
/// A program whose time was set back, and one that a package brought with its old time.
pub const BACK_DATED: &str = "/etc/cron.daily/back-dated";
/// Of a package.
pub const PACKAGED: &str = "/etc/cron.daily/packaged";
/// A file whose time was set ahead.
pub const AHEAD: &str = "/root/ahead";
/// A file that nobody can change.
pub const IMMUTABLE: &str = "/root/immutable";
/// A file that can only become longer.
pub const APPEND_ONLY: &str = "/root/append-only";

const HOLD: &str = "sleep";
const SLEEP: &str = "/usr/bin/sleep";
/// They end by themselves, whatever becomes of this.
const LIFE: &str = "150";
const PATIENCE: Duration = Duration::from_secs(10);

/// Processes that hide, each with the word by which it is known here; ended when dropped.
pub struct Hiders {
    children: Vec<(&'static str, Child)>,
    ghost: Ghost,
}

impl Hiders {
    /// All of them.
    pub fn start() -> Result<Self> {
        let mut all = Self { children: Vec::new(), ghost: Ghost::start()? };
        all.processes().context("processes under false names")?;
        all.mounts().context("mounts")?;
        files().context("files")?;
        // Last: from now on every program of this world that is linked dynamically loads it.
        all.libraries().context("libraries")?;
        Ok(all)
    }

    /// The pid of one.
    pub fn pid(&self, word: &str) -> Result<u32> {
        if word == "memfd" {
            return Ok(self.ghost.seen.pid);
        }
        let found = self.children.iter().find(|(other, _)| *other == word);
        Ok(found.with_context(|| format!("nobody is called {word}"))?.1.id())
    }

    fn add(
        &mut self,
        word: &'static str,
        command: &mut Command,
        is_up: impl Fn(&Seen) -> bool,
    ) -> Result<u32> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context(word)?;
        let pid = child.id();
        self.children.push((word, child));
        wait::until(word, PATIENCE, || Ok(Seen::of(pid).ok().filter(&is_up).map(drop)))?;
        Ok(pid)
    }

    fn processes(&mut self) -> Result<()> {
        let sleeps = |seen: &Seen| seen.exe == SLEEP;
        self.add("kernel name", Command::new(SLEEP).arg0("[kworker/0:1]").arg(LIFE), sleeps)?;
        self.add("brackets", Command::new(SLEEP).arg0("[evil]").arg(LIFE), sleeps)?;
        self.add("not a kernel name", Command::new(SLEEP).arg0("[a worker: busy]").arg(LIFE), sleeps)?;
        let rename = "printf kworker/0:1H > /proc/self/comm; read nothing";
        self.add("kernel comm", Command::new("/bin/sh").args(["-c", rename]), |seen| {
            seen.comm == "kworker/0:1H"
        })?;
        for (word, path) in [
            ("trailing space", "/tmp/sshd "),
            ("zero width", "/tmp/ss\u{200b}hd"),
            ("look-alike", "/tmp/\u{441}ron"),
            ("deleted", "/tmp/gone"),
        ] {
            fs::copy(SLEEP, path)?;
            self.add(word, Command::new(path).arg(LIFE), |seen| seen.exe == path)?;
        }
        fs::remove_file("/tmp/gone")?;
        Ok(())
    }

    fn mounts(&mut self) -> Result<()> {
        let nothing = None::<&str>;
        let sleeps = |seen: &Seen| seen.exe == SLEEP;
        let covered = self.add("under a mount", Command::new(SLEEP).arg(LIFE), sleeps)?;
        fs::create_dir("/tmp/empty")?;
        mount(Some("/tmp/empty"), format!("/proc/{covered}").as_str(), nothing, MsFlags::MS_BIND, nothing)?;
        let elsewhere = self.add("under a mount elsewhere", Command::new(SLEEP).arg(LIFE), sleeps)?;
        let script =
            format!("mount --bind /tmp/empty /proc/{elsewhere} && : > /tmp/mounted && exec {HOLD} {LIFE}");
        self.add("mount namespace", Command::new("unshare").args(["-m", "sh", "-c", &script]), |seen| {
            seen.exe == SLEEP
        })?;
        ensure!(Path::new("/tmp/mounted").exists(), "nothing was mounted in the other namespace");
        fs::create_dir(COVERED)?;
        fs::write(Path::new(COVERED).join("secret"), "under a mount")?;
        mount(Some("tmpfs"), COVERED, Some("tmpfs"), MsFlags::empty(), nothing)?;
        ensure!(!Path::new(COVERED).join("secret").exists(), "the mount covers nothing");
        Ok(())
    }

    fn libraries(&mut self) -> Result<()> {
        let source = "/tmp/hide.c";
        fs::write(source, include_str!("../fixtures/hide.c"))?;
        let built =
            Command::new("gcc").args(["-shared", "-fPIC", "-o", BY_ENVIRONMENT, source, "-ldl"]).status()?;
        ensure!(built.success(), "gcc: {built}");
        fs::create_dir(KEPT_OUT)?;
        self.add("preloaded", Command::new(SLEEP).arg(LIFE).env("LD_PRELOAD", BY_ENVIRONMENT), |seen| {
            fs::read_to_string(format!("/proc/{}/maps", seen.pid))
                .is_ok_and(|maps| maps.contains(BY_ENVIRONMENT))
        })?;
        let seen = Command::new("ls").arg("/home").env("LD_PRELOAD", BY_ENVIRONMENT).output()?;
        let name = Path::new(KEPT_OUT).file_name().context("no name")?.to_string_lossy().into_owned();
        ensure!(
            !String::from_utf8_lossy(&seen.stdout).contains(&name),
            "the library hides nothing: {seen:?}"
        );
        fs::copy(BY_ENVIRONMENT, BY_LIST)?;
        fs::write(LIST, format!("{BY_LIST}\n"))?;
        self.add("preloaded by the list", Command::new(SLEEP).arg(LIFE), |seen| {
            fs::read_to_string(format!("/proc/{}/maps", seen.pid)).is_ok_and(|maps| maps.contains(BY_LIST))
        })?;
        Ok(())
    }
}

impl Drop for Hiders {
    fn drop(&mut self) {
        drop(fs::remove_file(LIST));
        for (_, child) in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn files() -> Result<()> {
    fs::create_dir_all("/etc/cron.daily")?;
    fs::create_dir_all("/var/lib/dpkg/info")?;
    for path in [BACK_DATED, PACKAGED] {
        fs::write(path, "#!/bin/sh\n")?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        set_time(path, 1_546_300_800)?;
    }
    // The programs of the machine are a package's as well; to /usr the world has no lists.
    let mut list = format!("/.\n{PACKAGED}\n");
    for folder in ["/usr/bin", "/usr/sbin"] {
        for entry in fs::read_dir(folder)? {
            list.push_str(&format!("{}\n", entry?.path().display()));
        }
    }
    fs::write("/var/lib/dpkg/info/some.list", list)?;
    fs::write(AHEAD, "later")?;
    set_time(AHEAD, 4_102_444_800)?;
    for (path, flag) in [(IMMUTABLE, "+i"), (APPEND_ONLY, "+a")] {
        fs::write(path, "stays")?;
        let set = Command::new("chattr").args([flag, path]).status()?;
        ensure!(set.success(), "chattr {flag} {path}: {set}: its file system needs Linux 6.6 for that");
    }
    Ok(())
}

fn set_time(path: &str, seconds: i64) -> Result<()> {
    let file = File::open(path)?;
    let time = TimeSpec::seconds(seconds);
    futimens(&file, &time, &time).context("set its time")
}
