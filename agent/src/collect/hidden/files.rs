//! Hidden files: where no hidden name belongs, names made to mislead, executables in temporary places, places that the
//! history of the processes in scope names, and files that are deleted but open.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::dir::Type;

use super::super::attempts::Attempts;
use super::super::findings::{FINDINGS_MAX, Findings};
use super::super::names::{is_dot, is_usual, misleading, split};
use super::super::open::{ANY_DEPTH, Later};
use super::super::passwd::homes;
use super::super::system::Attributes;
use super::super::walk::{Entry, Walker};
use super::super::{Context, deleted, named};
use super::marks::Marks;
use crate::bundle::writer::Error;

/// Entries that are looked at in one capture.
const ENTRIES_MAX: usize = 2_000_000;

/// What is odd depends on where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Anybody may write here.
    Temporary,
    /// Devices and what lives as long as the boot.
    Runtime,
    /// Programs, settings, served files.
    System,
    /// What packages install, in great number and also under odd names: only what they did not is odd.
    Distribution,
    /// A person's.
    Home,
    /// A service's.
    Service,
}

/// Depth 0: only what stands in the folder itself.
const AREAS: &[(&[u8], usize, Place)] = &[
    (b"/", 0, Place::System),
    (b"/tmp", ANY_DEPTH, Place::Temporary),
    (b"/var/tmp", ANY_DEPTH, Place::Temporary),
    (b"/dev/shm", ANY_DEPTH, Place::Temporary),
    (b"/run", ANY_DEPTH, Place::Runtime),
    (b"/dev", ANY_DEPTH, Place::Runtime),
    (b"/var/www", ANY_DEPTH, Place::System),
    (b"/etc", ANY_DEPTH, Place::System),
    (b"/srv", ANY_DEPTH, Place::System),
    (b"/opt", ANY_DEPTH, Place::System),
    // Should the time not suffice, then what runs comes first.
    (b"/usr/bin", ANY_DEPTH, Place::Distribution),
    (b"/usr/sbin", ANY_DEPTH, Place::Distribution),
    (b"/usr/lib", ANY_DEPTH, Place::Distribution),
    (b"/usr/local", ANY_DEPTH, Place::Distribution),
    (b"/usr", ANY_DEPTH, Place::Distribution),
];

/// Where the attributes of every file are looked at.
const PROGRAMS: [&[u8]; 3] = [b"/etc", b"/usr/bin", b"/usr/sbin"];

/// What is looked at next.
enum Turn {
    /// An area.
    Area(Vec<u8>),
    /// The rest of a directory with very many entries, after all areas.
    Rest(Later),
}

/// What the package manager knows; written after every change it makes.
pub(in crate::collect) const DPKG: &[u8] = b"/var/lib/dpkg/status";

/// All of /usr gets this long: it may hold millions of files, hardly any of them of interest.
const DISTRIBUTION_MAX: Duration = Duration::from_secs(2);

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let left = attempts.room().deadline.saturating_duration_since(Instant::now());
    // Logs come after this: half of the time is theirs.
    let until = Instant::now() + (left / 2).min(Duration::from_mins(5));
    let places = &context.job.places;
    let mut walker = Walker::new(&places.root, &places.proc, ENTRIES_MAX, until);
    let mut findings = Findings::default();
    for one in std::mem::take(&mut context.suspicious) {
        findings.add(&one.path, one.reasons, Some(&one.attributes));
        findings.copy(&one.path, &mut walker, attempts)?;
    }
    for place in named::places(context.tree, &context.plan) {
        let entry = walker.find(&place.path).ok();
        findings.add(&place.path, place.reasons, entry.as_ref().map(|entry| &entry.attributes));
        findings.copy(&place.path, &mut walker, attempts)?;
    }
    deleted::run(context, &mut findings, attempts)?;
    let homes = homes(&walker).into_iter().map(|user| {
        let place = if (1..1000).contains(&user.uid) { Place::Service } else { Place::Home };
        (user.home, ANY_DEPTH, place)
    });
    let areas = AREAS.iter().map(|(path, depth, place)| (path.to_vec(), *depth, *place)).chain(homes);
    let mut turns: VecDeque<_> = areas.map(|(path, depth, place)| (Turn::Area(path), depth, place)).collect();
    let mut marks = Marks::new(&places.root);
    let packaged = walker.find(DPKG).ok().and_then(|status| status.attributes.changed());
    let mut distribution_until = None;
    while let Some((turn, depth, place)) = turns.pop_front() {
        let mut odd = Vec::new();
        walker.again();
        walker.until = match place {
            Place::Distribution => {
                until.min(*distribution_until.get_or_insert_with(|| Instant::now() + DISTRIBUTION_MAX))
            }
            _ => until,
        };
        let system = matches!(place, Place::System | Place::Distribution);
        let programs = matches!(&turn, Turn::Area(path) if PROGRAMS.contains(&path.as_slice()));
        // Ordinary names of ordinary files are most of a system: for these the name is enough.
        let look = |name: &[u8], kind: Option<Type>| {
            !system || programs || kind != Some(Type::File) || is_dot(name) || !misleading(name).is_empty()
        };
        let mut visit = |entry: &Entry| {
            if AREAS.iter().any(|(other, ..)| *other == entry.path) {
                return false; // it has its own turn
            }
            marks.look(entry);
            if place == Place::Distribution && is_packaged(&entry.attributes, packaged) {
                return depth > 0;
            }
            let reasons = judge(entry, place);
            if !reasons.is_empty() {
                if odd.len() < FINDINGS_MAX {
                    odd.push((entry.path.clone(), reasons, entry.attributes));
                } else {
                    findings.drop_one();
                }
                return false;
            }
            depth > 0
        };
        match turn {
            // What is not there has no hidden files.
            Turn::Area(path) => {
                if let Ok(area) = walker.find(&path) {
                    walker.walk_at_first(&area, depth, &look, &mut visit);
                }
            }
            Turn::Rest(later) => walker.walk_later(later, &look, &mut visit),
        }
        walker.until = until;
        turns.extend(walker.take_later().into_iter().map(|later| (Turn::Rest(later), depth, place)));
        for (path, reasons, attributes) in odd {
            findings.add(&path, reasons, Some(&attributes));
            findings.copy(&path, &mut walker, attempts)?;
        }
    }
    marks.finish(&mut context.noted, attempts)?;
    for noted in std::mem::take(&mut context.noted) {
        findings.note(noted, &mut walker, attempts)?;
    }
    context.copied.append(&mut findings.taken);
    findings.finish(walker.miss(), attempts)
}

/// Whether it may have come with a package: it is root's, and nothing changed it after the package manager's last
/// change, which was at `packaged`. Where there is no such time, nothing has.
fn is_packaged(attributes: &Attributes, packaged: Option<(i64, u32)>) -> bool {
    let changed = attributes.changed();
    attributes.uid == 0 && packaged.is_some() && changed.is_some() && changed <= packaged
}

/// What is odd about an entry in its place.
fn judge(entry: &Entry, place: Place) -> Vec<String> {
    let name = entry.name();
    let mut reasons: Vec<&str> = misleading(name);
    let (folder, _) = split(&entry.path);
    let (dot, directory) = (is_dot(name) && !is_usual(&entry.path), entry.attributes.is_dir());
    let program = entry.attributes.is_file() && entry.attributes.mode & 0o111 != 0;
    match place {
        Place::Temporary | Place::Runtime => {
            if dot {
                reasons.push("a hidden name in a temporary place");
            }
            if program {
                reasons.push("an executable in a temporary place");
            }
            let device = entry.path.starts_with(b"/dev/") && !entry.path.starts_with(b"/dev/shm/");
            if device && entry.attributes.is_file() {
                reasons.push("an ordinary file among the devices");
            }
        }
        Place::System | Place::Distribution => {
            if dot && directory {
                reasons.push("a hidden directory where none belongs");
            }
            if dot && program {
                reasons.push("a hidden executable");
            }
        }
        Place::Home | Place::Service => {
            let hidden_folder = folder.split(|&byte| byte == b'/').any(is_dot);
            if dot && directory && hidden_folder {
                reasons.push("a hidden directory inside a hidden directory");
            }
            let cache =
                folder.split(|&byte| byte == b'/').any(|part| [&b".cache"[..], b".config"].contains(&part));
            if program && cache {
                reasons.push("an executable among caches or settings");
            }
            let usual = [&b".cache"[..], b".config", b".local", b".ssh", b".gnupg", b".dbus", b".pki"]
                .contains(&name);
            if place == Place::Service && dot && directory && !usual {
                reasons.push("a hidden directory of a service");
            }
        }
    }
    reasons.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "files_test.rs"]
mod tests;
