//! The package managers' databases, read by descriptors below the root; of the files only those that are asked for are
//! kept.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::collect::attempts::Miss;
use crate::collect::file::text;
use crate::collect::walk::{Entry, Walker};
use crate::history::packages::{as_shown, merged, paths};
use crate::packages::{Package, Record, apk, dpkg};

/// Bytes of a status file or database, and of one package's list.
const STATUS_MAX: u64 = 256 << 20;
const LIST_MAX: u64 = 64 << 20;

const DPKG: &[u8] = b"/var/lib/dpkg";
const APK: &[u8] = b"/lib/apk/db/installed";
/// Its header blobs lie in SQLite, Berkeley DB or a format of its own, as the distribution chose.
const RPM: [&[u8]; 2] = [b"/var/lib/rpm", b"/usr/lib/sysimage/rpm"];

/// What they know.
#[derive(Debug, Default)]
pub(in crate::collect) struct Known {
    pub(super) packages: Vec<Package>,
    records: HashMap<Vec<u8>, Record>,
    /// Whether there is a database that is understood.
    pub(super) understood: bool,
    /// What could not be read.
    pub(super) misses: Vec<(String, Miss)>,
}

impl Known {
    /// What is known of the file at `path`.
    pub(super) fn of(&self, path: &[u8]) -> Option<&Record> {
        self.records.get(path)
    }

    fn read(&mut self, walker: &Walker, path: &[u8], max: u64) -> Option<Vec<u8>> {
        let entry = walker.resolve(path).ok()?;
        self.read_entry(walker, &entry, max)
    }

    fn read_entry(&mut self, walker: &Walker, entry: &Entry, max: u64) -> Option<Vec<u8>> {
        let miss = match text(&entry.fd, &walker.remote, max) {
            Ok((text, true)) => return Some(text),
            Ok((_, false)) => Miss::refused(format!("more than {max} bytes")),
            Err(miss) => miss,
        };
        if self.misses.len() < 100 {
            self.misses.push((crate::text::escape(&entry.path), miss));
        }
        None
    }

    fn dpkg(&mut self, walker: &mut Walker, merged: &[&str], wanted: &HashSet<Vec<u8>>) {
        let Some(status) = self.read(walker, &[DPKG, b"/status"].concat(), STATUS_MAX) else { return };
        self.understood = true;
        let (packages, conffiles) = dpkg::status(&status);
        self.packages.extend(packages);
        let diversions = self.read(walker, &[DPKG, b"/diversions"].concat(), LIST_MAX).unwrap_or_default();
        let diversions = dpkg::diversions(&diversions);
        // Where a package's file really lies.
        let placed = |path: Vec<u8>, package: &[u8]| match diversions.get(&path) {
            Some((to, by)) if by != package => as_shown(to, merged),
            _ => as_shown(&path, merged),
        };
        let Ok(info) = walker.resolve(&[DPKG, b"/info"].concat()) else { return };
        let names = match walker.names(&info.fd) {
            Ok(names) => names,
            Err(error) => {
                self.misses.push(("dpkg's lists".to_owned(), Miss::at("list", &error)));
                return;
            }
        };
        for (name, _) in names {
            let name = name.to_bytes();
            let (of_list, of_sums) = (dpkg::package(name, b".list"), dpkg::package(name, b".md5sums"));
            let Some(package) = of_list.or(of_sums) else { continue };
            let Ok(entry) = walker.child(&info, name) else { continue };
            let Some(text) = self.read_entry(walker, &entry, LIST_MAX) else { continue };
            if of_list.is_some() {
                for path in paths(&text, &[]).map(|path| placed(path, package)) {
                    if wanted.contains(&path) {
                        let record = Record { package: package.to_vec(), sum: None };
                        self.records.entry(path).or_insert(record);
                    }
                }
            } else {
                for (path, sum) in dpkg::sums(&text) {
                    let path = placed(path, package);
                    if wanted.contains(&path) {
                        let record = Record { package: package.to_vec(), sum: Some(sum) };
                        self.records.insert(path, record);
                    }
                }
            }
        }
        for (path, sum, package) in conffiles {
            let path = placed(path, &package);
            let has_sum = self.records.get(&path).is_some_and(|record| record.sum.is_some());
            if wanted.contains(&path) && !has_sum {
                self.records.insert(path, Record { package, sum });
            }
        }
    }

    fn apk(&mut self, walker: &Walker, merged: &[&str], wanted: &HashSet<Vec<u8>>) {
        let Some(text) = self.read(walker, APK, STATUS_MAX) else { return };
        self.understood = true;
        let (packages, files) = apk::installed(&text, |path| wanted.contains(&as_shown(path, merged)));
        self.packages.extend(packages);
        self.records.extend(files.into_iter().map(|(path, record)| (as_shown(&path, merged), record)));
    }
}

/// What is known of the files `wanted`, below `root`.
pub(in crate::collect) fn know(walker: &mut Walker, root: &Path, wanted: &HashSet<Vec<u8>>) -> Known {
    let mut known = Known::default();
    let merged = merged(root);
    known.dpkg(walker, &merged, wanted);
    known.apk(walker, &merged, wanted);
    for path in RPM {
        if walker.resolve(path).is_ok_and(|entry| entry.attributes.is_dir()) && !known.understood {
            let why = "rpm's database is not read: which files are packages' is not known";
            known.misses.push((crate::text::escape(path), Miss::refused(why)));
        }
    }
    known
}
