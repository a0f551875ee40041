//! What containers print, as their runtimes keep it: of those in scope first, then of those that run. The definition
//! `ContainerLogs` names the rest.

use std::collections::BTreeMap;

use super::Row;
use crate::bundle::writer::Error;
use crate::bundle::{Name, Outcome};
use crate::collect::attempts::{Attempts, Miss};
use crate::collect::content::{self, Bound, Known};
use crate::collect::file::regular;
use crate::collect::log::is_log;
use crate::collect::names::split;
use crate::collect::walk::Walker;
use crate::text;

/// Containers whose logs are taken, and bytes of all of them.
const LOGS_MAX: usize = 200;
const BYTES_MAX: u64 = 512 << 20;

pub(super) fn run(
    rows: &[&Row],
    walker: &Walker,
    copied: &mut BTreeMap<Vec<u8>, Name>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let mut left = BYTES_MAX;
    let logs = rows.iter().filter(|row| !row.container.log.is_empty()).take(LOGS_MAX);
    for row in logs {
        let Some(path) = text::unescape(&row.container.log) else { continue };
        // The log collection takes what is below /var/log. A record may name any file of the host: only one that is the
        // runtime's by its place is taken for its log.
        let (_, name) = split(&path);
        if is_log(&path) || !is_one(&path, name) || copied.contains_key(&path) {
            continue;
        }
        let subject = text::escape(&path);
        let found = walker.resolve(&path).and_then(|entry| Ok((regular(&entry.fd, &walker.remote)?, entry)));
        let (attributes, entry) = match found {
            Ok(found) => found,
            Err(miss) if miss.outcome == Outcome::Gone => continue,
            Err(miss) => {
                attempts.miss(subject, miss)?;
                continue;
            }
        };
        if left == 0 {
            attempts.miss(subject, Miss::new(Outcome::OverBudget, "enough of containers' logs was taken"))?;
            continue;
        }
        let room = attempts.room();
        let bound = Bound { bytes: room.file.min(room.bytes).min(left), outcome: Outcome::Partial };
        let called = |suffix: &str| Name::file(&["files"], &[&path, suffix.as_bytes()].concat());
        let taken =
            content::take_as(attempts, &subject, &called, &entry.fd, &attributes, bound, Known::default())?;
        left = left.saturating_sub(room.bytes.saturating_sub(attempts.room().bytes));
        if let Some(name) = taken {
            copied.insert(path, name);
        }
    }
    Ok(())
}

fn is_one(path: &[u8], name: &[u8]) -> bool {
    let of_docker = path.starts_with(b"/var/lib/docker/containers/") && name.ends_with(b"-json.log");
    of_docker
        || (path.ends_with(b"/userdata/ctr.log")
            || (path.starts_with(b"/var/lib/lxc/") && name.ends_with(b".log")))
}
