//! What the tests of plan and collections share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Context;
use crate::bundle::{Attempt, Bag, Frozen, Outcome};
use crate::capture::job::{Facts, Job, Limits, Places};
use crate::event::{Action, BootId, Event, ProcessId, Source};
use crate::history::tree::{Bounds, Tree};
use crate::plan::{self, Step};
use crate::proc::Stat;
use crate::text::Bytes;
use crate::trigger::{Profile, Trigger};

/// A job that looks at this machine's /proc and at no file.
pub(crate) fn job() -> Job {
    Job {
        id: Uuid::nil(),
        accepted: "2026-11-20T14:03:27Z".parse().unwrap(),
        trigger: Trigger::default(),
        raw: Bytes::from("{}"),
        targets: Vec::new(),
        profile: Profile::Triage,
        limits: Limits::default(),
        places: Places { proc: "/proc".into(), root: "/nonexistent".into(), history: None, stash: None },
        facts: Facts {
            boot: BootId([1; 16]),
            machine_id: "0".repeat(32),
            hostname: "host".to_owned(),
            kernel: String::new(),
            version: String::new(),
            config_sha256: String::new(),
            initial_pid_namespace: false,
            probe: serde_json::Value::Null,
            counts: serde_json::Value::Null,
            gaps: Vec::new(),
            changes: Vec::new(),
        },
    }
}

/// Lays out files below `root`, by path and content.
pub(crate) fn lay(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A root of its own with these files.
pub(crate) fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), files);
    folder
}

/// What came of a run: the members of the bag, and the attempts.
pub(crate) struct Taken {
    pub(crate) members: BTreeMap<String, Vec<u8>>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) frozen: Vec<Frozen>,
}

impl Taken {
    pub(crate) fn outcome(&self, subject: &str) -> (Outcome, &str) {
        let found: Vec<&Attempt> =
            self.attempts.iter().filter(|attempt| attempt.subject == subject).collect();
        assert_eq!(found.len(), 1, "{subject}: {found:?} among {:#?}", self.attempts);
        (found[0].outcome, found[0].detail.as_deref().unwrap_or_default())
    }
}

/// Runs `steps` of a real plan into a bag, and reads the bag back.
pub(crate) fn take(job: &Job, tree: &Tree, targets: &[ProcessId], steps: &[Step]) -> Taken {
    let folder = tempfile::tempdir().unwrap();
    let mut bag = Bag::create(File::open(folder.path()).unwrap().into(), job.id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(job.limits.deadline_s);
    let look = super::look(&job.places.proc, job.facts.boot, tree, deadline);
    let mut plan = plan::plan(job, tree, targets, &look.around);
    plan.steps.retain(|step| steps.contains(step));
    let mut context = Context::new(job, tree, targets, plan, look, deadline);
    super::run(&mut context, &mut bag, &mut |_| {}).unwrap();
    let frozen = context.frozen;
    bag.finish().unwrap();
    let (members, attempts) = contents(folder.path(), job);
    Taken { members, attempts, frozen }
}

/// The members and attempts of a finished bag.
pub(crate) fn contents(folder: &Path, job: &Job) -> (BTreeMap<String, Vec<u8>>, Vec<Attempt>) {
    let frames = std::fs::read(folder.join(format!("{}.partial", job.id))).unwrap();
    let tar = if frames.is_empty() { vec![0; 1024] } else { zstd::decode_all(&*frames).unwrap() };
    let mut archive = tar::Archive::new(&*tar);
    let mut members = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let name = path.split_once("/data/").unwrap_or(("", &path)).1.to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(members.insert(name, bytes).is_none(), "{path} is there twice");
    }
    let journal = std::fs::read_to_string(folder.join(format!("{}.journal", job.id))).unwrap();
    let attempts = journal
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| serde_json::from_value(line.get("attempt")?.clone()).ok())
        .collect();
    (members, attempts)
}

/// The outcome of a finished bag's only attempt, and the bytes of its only member.
pub(crate) fn read(folder: &Path, job: &Job) -> (Outcome, Vec<u8>) {
    let (members, attempts) = contents(folder, job);
    assert_eq!((members.len(), attempts.len()), (1, 1));
    (attempts[0].outcome, members.into_values().next().unwrap())
}

/// A child of the test's own, ended and waited for when dropped.
pub(crate) struct Child(pub(crate) std::process::Child);

impl Child {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        // A program just written cannot be run while a sibling test's fork still holds it open for writing.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == std::io::ErrorKind::ExecutableFileBusy
                        && Instant::now() < deadline => {}
                result => return Self(result.unwrap()),
            }
        }
    }

    pub(crate) fn id(&self) -> ProcessId {
        let pid = self.0.id();
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
        ProcessId { boot: BootId([1; 16]), pid, start: Stat::parse(&stat).unwrap().start }
    }

    /// The first line it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A tree that knows these processes and nothing else.
pub(crate) fn tree(processes: &[ProcessId]) -> Tree {
    let mut tree = Tree::new(Bounds::COLLECTOR);
    for process in processes {
        let action = Action::Running(Box::default());
        let time = "2026-11-20T14:00:00Z".parse().unwrap();
        tree.apply(&Event { time, source: Source::Scan, process: *process, action });
    }
    tree
}

/// The test's own process, which has the executable of the one that looks.
pub(crate) fn own() -> ProcessId {
    let stat = Stat::parse(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
    ProcessId { boot: BootId([1; 16]), pid: stat.pid, start: stat.start }
}
