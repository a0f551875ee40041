//! Files that have no name any more, but are open or mapped: their content, through /proc/PID/fd and map_files.

use std::collections::HashSet;

use super::Context;
use super::attempts::{Attempts, Miss};
use super::file::{regular, reopen, whole};
use super::findings::Findings;
use super::procdir::ProcDir;
use super::walk::Walker;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::proc::mappings;
use crate::text;

/// Descriptors and mappings that are looked at per process.
const FDS_MAX: usize = 65_536;
const MAPS_MAX: u64 = 32 << 20;

/// Bytes of all copies.
const BYTES_MAX: u64 = 1 << 30;

/// Shared memory that only looks like a deleted file.
const MEMORY: &[&[u8]] = &[b"/dev/zero", b"/SYSV", b"/[aio]", b"/drm mm object", b"/i915", b"/anon_hugepage"];

/// A file that was seen already: device, inode, last change.
type Seen = HashSet<((u32, u32), u64, Option<(i64, u32)>)>;

pub(super) fn run(
    context: &Context<'_>,
    walker: &Walker,
    findings: &mut Findings,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let mut copies = Copies { walker, findings, seen: Seen::new(), left: BYTES_MAX };
    for one in context.plan.scope.iter().filter(|one| one.state) {
        // That it is gone was said by the process collection.
        let Ok(dir) = context.pinned.get(one.id) else { continue };
        if dir.is_agent() {
            continue;
        }
        let (fds, _) = dir.numbers("fd", FDS_MAX).unwrap_or_default();
        for fd in fds {
            copies.take(&dir, &format!("fd/{fd}"), &format!("fd-{fd}"), attempts)?;
        }
        let (maps, _) = dir.text("maps", MAPS_MAX).unwrap_or_default();
        for mapping in mappings(&maps) {
            let path = mapping.path.as_slice();
            let memory = MEMORY.iter().any(|name| path.starts_with(name));
            if mapping.inode != 0 && path.ends_with(b" (deleted)") && !memory {
                let range = format!("{:x}-{:x}", mapping.start, mapping.end);
                copies.take(&dir, &format!("map_files/{range}"), &format!("map-{range}"), attempts)?;
            }
        }
    }
    Ok(())
}

struct Copies<'a> {
    walker: &'a Walker,
    findings: &'a mut Findings,
    seen: Seen,
    left: u64,
}

impl Copies<'_> {
    /// Copies what a magic link leads to, if it is a regular file without a name that was not copied yet.
    fn take(
        &mut self,
        dir: &ProcDir,
        link: &str,
        label: &str,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Error> {
        let Ok(path) = dir.path(link) else { return Ok(()) };
        // Sockets, pipes, devices and files with a name are no findings.
        let Ok(attributes) = regular(&path, &self.walker.remote) else { return Ok(()) };
        let target = dir.link(link).unwrap_or_default();
        let memory = MEMORY.iter().any(|name| target.starts_with(name));
        let key = (attributes.device, attributes.inode, attributes.times[2]);
        if attributes.links != 0 || memory || !self.seen.insert(key) {
            return Ok(());
        }
        let short = dir.id().short();
        let reason = format!("deleted, but held open by process {short} ({link})");
        self.findings.add(&target, vec![reason], Some(&attributes));
        let name = Name::data(&["hidden", "deleted", &short, label]);
        let left = self.left;
        let subject = format!("{short} {link} {}", text::escape(&target));
        let mut size = 0;
        attempts.take(subject, &name, |mut room| {
            if left == 0 {
                return Err(Miss::new(Outcome::OverBudget, "enough deleted files were copied"));
            }
            room.file = room.file.min(left);
            size = attributes.size.min(room.file);
            whole(reopen(&path)?, attributes.size, room)
        })?;
        self.left = self.left.saturating_sub(size);
        Ok(())
    }
}
