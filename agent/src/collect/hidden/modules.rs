//! Kernel modules: the list in /proc/modules against what a module leaves elsewhere: its folder in /sys/module, its symbols
//! in /proc/kallsyms, its types in /sys/kernel/btf. A module that takes itself off the list most often forgets one of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use super::super::Context;
use super::super::attempts::{Attempts, Miss};
use super::finding::{Finding, Report, take};
use super::views::{PAUSE, kernels_entries, kernels_own, missing};
use crate::bundle::Outcome;
use crate::bundle::writer::Error;
use crate::proc::kallsyms;
use crate::text::Bytes;

const LIST_MAX: u64 = 4 << 20;
const SYMBOLS_MAX: u64 = 128 << 20;
const SYS: &str = "/sys";

const UNLISTED: &str = "the kernel has traces of this module, and its list of modules does not have it";
const NO_FOLDER: &str = "the list of modules has it, and /sys/module does not";

type Names = BTreeSet<Vec<u8>>;

/// Where modules show, beside the list.
#[derive(Debug, Default)]
struct Traces {
    /// Folders in /sys/module of modules that can be unloaded; the kernel's own parts have no `initstate`.
    folders: Option<Names>,
    symbols: Option<Names>,
    types: Option<Names>,
}

const SOURCES: [&str; 3] = ["/sys/module", "/proc/kallsyms", "/sys/kernel/btf"];

impl Traces {
    fn read(proc: &Path) -> Self {
        let sys = Path::new(SYS);
        Self {
            folders: names(&sys.join("module")).map(|mut names| {
                names.retain(|name| {
                    let path = sys.join("module").join(os(name)).join("initstate");
                    kernels_own(&path, 64).is_ok()
                });
                names
            }),
            symbols: kernels_own(&proc.join("kallsyms"), SYMBOLS_MAX)
                .ok()
                .map(|text| kallsyms::modules(&text)),
            types: names(&sys.join("kernel/btf")).map(|mut names| {
                names.remove(&b"vmlinux"[..]);
                names
            }),
        }
    }

    fn each(&self) -> [Option<&Names>; 3] {
        [self.folders.as_ref(), self.symbols.as_ref(), self.types.as_ref()]
    }
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let (proc, whole) = (&context.job.places.proc, context.job.facts.initial_pid_namespace);
    take(&mut context.noted, attempts, ("kernel modules that are not shown everywhere", "modules"), |_| {
        if !whole {
            return Err(Miss::refused(
                "they belong to the whole machine, and the agent lives in a PID namespace of its own",
            ));
        }
        look(proc)
    })
}

fn look(proc: &Path) -> Result<Report, Miss> {
    let list = || match kernels_own(&proc.join("modules"), LIST_MAX) {
        Ok(text) => Ok(listed(&text)),
        // A kernel that was built without modules.
        Err(miss) if miss.outcome == Outcome::Gone => Ok(Names::new()),
        Err(miss) => Err(miss),
    };
    let mut lists = vec![list()?];
    let mut traces = vec![Traces::read(proc)];
    lists.push(list()?);
    if !compare(&lists, &traces).is_empty() {
        thread::sleep(PAUSE);
        traces.push(Traces::read(proc));
        lists.push(list()?);
    }
    let mut report = Report::default();
    report.compared("/proc/modules", lists.first().map_or(0, BTreeSet::len));
    for (source, names) in SOURCES.iter().zip(traces.first().map(Traces::each).into_iter().flatten()) {
        match names {
            Some(names) => report.compared(*source, names.len()),
            None => report.lack(format!("{source} cannot be read")),
        }
    }
    if traces.len() > 1 {
        report.extend(compare(&lists, &traces));
    }
    Ok(report)
}

/// What is in every look at a trace and in no list of modules, and the other way round.
fn compare(lists: &[Names], traces: &[Traces]) -> Vec<Finding> {
    let lists: Vec<&Names> = lists.iter().collect();
    let mut found = Vec::new();
    let mut hidden = Names::new();
    let of = |at: usize| -> Option<Vec<&Names>> {
        traces.iter().map(|traces| traces.each().get(at).copied().flatten()).collect()
    };
    let looks: Vec<Option<Vec<&Names>>> = (0..SOURCES.len()).map(of).collect();
    for looks in looks.iter().flatten() {
        hidden.append(&mut missing(looks, &lists));
    }
    for name in hidden {
        let mut finding = Finding::new(object(&name), UNLISTED).view("/proc/modules", "not listed");
        for (source, looks) in SOURCES.iter().zip(&looks) {
            let says = match looks {
                None => "cannot be read",
                Some(looks) if looks.iter().all(|names| names.contains(&name)) => "has it",
                Some(_) => "does not have it",
            };
            finding = finding.view(*source, says);
        }
        found.push(finding);
    }
    let folders = looks.first().cloned().flatten().unwrap_or_default();
    if !folders.is_empty() && folders.iter().any(|names| !names.is_empty()) {
        for name in missing(&lists, &folders) {
            let finding = Finding::new(object(&name), NO_FOLDER);
            found.push(finding.view("/proc/modules", "listed").view("/sys/module", "no folder of a module"));
        }
    }
    found
}

fn object(name: &[u8]) -> Bytes {
    Bytes([b"/sys/module/", name].concat())
}

/// The names of a `/proc/modules`.
fn listed(text: &[u8]) -> Names {
    let lines = text.split(|&byte| byte == b'\n');
    let first = |line: &[u8]| line.split(|&byte| byte == b' ').next().unwrap_or_default().to_vec();
    lines.map(first).filter(|name| !name.is_empty()).collect()
}

fn names(folder: &Path) -> Option<Names> {
    use std::os::unix::ffi::OsStringExt;
    let entries = kernels_entries(folder)?;
    Some(entries.into_iter().map(|entry| entry.file_name().into_vec()).collect())
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Names {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn traces(folders: &[&str], symbols: &[&str], types: &[&str]) -> Traces {
        Traces { folders: Some(set(folders)), symbols: Some(set(symbols)), types: Some(set(types)) }
    }

    fn found(lists: &[&[&str]], traces: &[Traces]) -> Vec<(String, &'static str)> {
        let lists: Vec<Names> = lists.iter().map(|names| set(names)).collect();
        let name = |finding: &Finding| String::from_utf8(finding.object.0.clone()).unwrap();
        compare(&lists, traces).iter().map(|finding| (name(finding), finding.reason)).collect()
    }

    #[test]
    fn a_module_off_the_list_is_found_by_any_trace() {
        for one in [
            traces(&["ext4", "evil"], &["ext4"], &["ext4"]),
            traces(&["ext4"], &["ext4", "evil"], &["ext4"]),
            traces(&["ext4"], &["ext4"], &["ext4", "evil"]),
            Traces { folders: None, types: None, symbols: Some(set(&["evil", "ext4"])) },
        ] {
            let lists: &[&[&str]] = &[&["ext4"], &["ext4"]];
            assert_eq!(found(lists, &[one]), [("/sys/module/evil".to_owned(), UNLISTED)]);
        }
        let without = [traces(&["a"], &[], &[]), traces(&["a"], &[], &[])];
        let lists: &[&[&str]] = &[&["a", "b"], &["a", "b"], &["a", "b"]];
        assert_eq!(found(lists, &without), [("/sys/module/b".to_owned(), NO_FOLDER)]);
    }

    #[test]
    fn a_module_that_is_just_loaded_or_unloaded_is_not() {
        let some = || traces(&["ext4", "new"], &["new"], &["new"]);
        let none = || traces(&["ext4"], &[], &[]);
        let tiny = || traces(&["ext4", "tiny"], &[], &[]);
        for (lists, traces) in [
            (&[&["ext4"][..], &["ext4", "new"]][..], vec![some()]),
            (&[&["ext4", "new"], &["ext4"]], vec![some()]),
            (&[&["ext4"], &["ext4"], &["ext4"]], vec![some(), none()]),
            (&[&["ext4"], &["ext4"], &["ext4"]], vec![none(), some()]),
            (&[&["ext4"], &["ext4", "new"], &["ext4"]], vec![some(), some()]),
            (&[&["ext4"], &["ext4"]], vec![none()]),
            // What has no symbols or types of its own is no finding.
            (&[&["ext4", "tiny"], &["ext4", "tiny"]], vec![tiny()]),
            // Without /sys nothing can be said of it.
            (&[&["ext4"], &["ext4"]], vec![Traces::default()]),
        ] {
            assert_eq!(found(lists, &traces), [], "{lists:?} {traces:?}");
        }
    }

    #[test]
    fn the_list_is_read() {
        let text =
            b"ext4 1024 1 - Live 0xffffffffc0000000\nmbcache 16384 1 ext4, Live 0x0000000000000000\n\n";
        assert_eq!(listed(text), set(&["ext4", "mbcache"]));
        assert_eq!(listed(b""), set(&[]));
    }
}
