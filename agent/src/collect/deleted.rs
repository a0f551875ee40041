//! Files that have no name any more, but are open or mapped: their content, through /proc/PID/fd and map_files. They are
//! held by a descriptor before memory is read, so that they outlive their process, and copied after it, the small ones
//! first.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::Context;
use super::attempts::{Attempts, Miss};
use super::content::{self, Key, key};
use super::findings::Findings;
use super::mounted::{Lies, Sight, View};
use super::procdir::ProcDir;
use super::system::{Attributes, statx};
use crate::bundle::writer::Error;
use crate::proc::mappings;
use crate::text;

/// Descriptors and mappings that are looked at per process.
const FDS_MAX: usize = 65_536;
const MAPS_MAX: u64 = 32 << 20;

/// Files that are held at the same time, of the descriptors that pinned processes leave. Those beyond are held when these
/// are copied.
const HELD_MAX: usize = 256;

/// How often it is looked for more; a bundle has room for 100,000 members.
const ROUNDS_MAX: usize = 64;

/// What the kernel calls memory of its own, in file systems of its own.
const KERNEL: &[&[u8]] = &[b"/[aio] (deleted)", b"/drm mm object (deleted)", b"/i915 (deleted)"];

/// Files without a name.
#[derive(Debug)]
pub(super) struct Held {
    files: Vec<File>,
    /// Those that were looked at, held or not.
    seen: HashSet<Key>,
    /// Whether there are more than could be held.
    more: bool,
}

#[derive(Debug)]
struct File {
    /// Pid and start time of who has it.
    short: String,
    /// Which descriptor or mapping it is.
    link: String,
    label: String,
    /// What the kernel calls it.
    target: Vec<u8>,
    path: OwnedFd,
    attributes: Attributes,
    lies: Lies,
}

/// Holds them, unless they are held already.
pub(super) fn hold(context: &mut Context<'_>) {
    if context.deleted.is_none() {
        let mut held = Held { files: Vec::new(), seen: HashSet::new(), more: false };
        held.look(context);
        context.deleted = Some(held);
    }
}

pub(super) fn run(
    context: &mut Context<'_>,
    findings: &mut Findings,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    hold(context);
    let Some(mut held) = context.deleted.take() else { return Ok(()) };
    for _ in 0..ROUNDS_MAX {
        held.files.sort_by_key(|file| file.attributes.size);
        for file in std::mem::take(&mut held.files) {
            file.copy(context, findings, attempts)?;
        }
        if !std::mem::take(&mut held.more) || attempts.late() {
            return Ok(());
        }
        held.look(context);
    }
    let miss = Miss::partial(format!("more than {} deleted files", ROUNDS_MAX * HELD_MAX));
    attempts.miss("deleted files", miss)
}

impl Held {
    fn look(&mut self, context: &Context<'_>) {
        let proc = &context.job.places.proc;
        let sight = Sight::new(proc);
        for one in context.plan.scope.iter().filter(|one| one.state) {
            // That it is gone was said by the process collection.
            let Ok(dir) = context.pinned.get(one.id) else { continue };
            if dir.is_agent() {
                continue;
            }
            let view = sight.of(&dir);
            let (fds, _) = dir.numbers("fd", FDS_MAX).unwrap_or_default();
            for fd in fds {
                self.add(&dir, &view, format!("fd/{fd}"), format!("fd-{fd}"));
            }
            let (maps, _) = dir.text("maps", MAPS_MAX).unwrap_or_default();
            for mapping in mappings(&maps) {
                if mapping.inode != 0 && mapping.path.as_slice().ends_with(b" (deleted)") {
                    let range = format!("{:x}-{:x}", mapping.start, mapping.end);
                    self.add(&dir, &view, format!("map_files/{range}"), format!("map-{range}"));
                }
            }
        }
    }

    /// Holds what a magic link leads to, if it is a regular file without a name that was not seen yet.
    fn add(&mut self, dir: &ProcDir, view: &View<'_>, link: String, label: String) {
        let Ok(path) = dir.path(&link) else { return };
        // Sockets, pipes, devices and files with a name are no findings.
        let Ok(attributes) = statx(&path, c"") else { return };
        if !attributes.is_file() || attributes.links != 0 || self.seen.contains(&key(&attributes)) {
            return;
        }
        let (target, lies) = (dir.link(&link).unwrap_or_default(), view.lies(&attributes));
        let memory = match lies {
            // Shared memory only looks like a deleted file.
            Lies::Memory => !target.starts_with(b"/memfd:"),
            Lies::Unseen => KERNEL.contains(&target.as_slice()),
            Lies::Local | Lies::Remote => false,
        };
        if memory {
            return;
        }
        if self.files.len() >= HELD_MAX {
            self.more = true;
            return;
        }
        self.seen.insert(key(&attributes));
        self.files.push(File { short: dir.id().short(), link, label, target, path, attributes, lies });
    }
}

impl File {
    fn copy(
        self,
        context: &mut Context<'_>,
        findings: &mut Findings,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let Self { short, link, label, target, path, attributes, lies } = self;
        let reason = format!("deleted, but held open by process {short} ({link})");
        findings.add(&target, vec![reason], Some(&attributes));
        let subject = format!("{short} {link} {}", text::escape(&target));
        if let Err(miss) = lies.may_be_opened() {
            return attempts.miss(subject, miss);
        }
        if let Some(name) = context.taken.get(&key(&attributes)) {
            return attempts.same(subject, name);
        }
        let folders = ["hidden", "deleted", &short];
        let label = label.as_bytes();
        if let Some(name) = content::take(attempts, &subject, &folders, label, &path, &attributes, None)? {
            context.taken.insert(key(&attributes), name);
        }
        Ok(())
    }
}
