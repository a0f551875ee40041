//! What is odd about the attributes of files that are walked over: times, flags.

use std::path::Path;

use super::super::attempts::Attempts;
use super::super::walk::Entry;
use super::finding::{Finding, Report, take};
use super::{flags, times};
use crate::bundle::writer::Error;
use crate::history::packages::Packages;

/// Both reports in the making.
pub(super) struct Marks {
    packages: Packages,
    /// Without the packages' lists, their files cannot be told from others.
    has_packages: bool,
    times: Report,
    flags: Report,
}

impl Marks {
    pub(super) fn new(root: &Path) -> Self {
        let (mut times, has_packages) = (Report::default(), crate::history::packages::kind(root).is_ok());
        if !has_packages {
            times.lack("times were not judged: which files packages brought is not known".to_owned());
        }
        Self { packages: Packages::new(root), has_packages, times, flags: Report::default() }
    }

    pub(super) fn look(&mut self, entry: &Entry) {
        let Self { packages, has_packages, .. } = self;
        self.flags.compared("files and directories", 1);
        self.flags.extend(flags::judge(&entry.path, &entry.attributes).map(|found| found.file(&entry.path)));
        if *has_packages && entry.attributes.is_file() {
            self.times.compared("files", 1);
            let mut own = || packages.own(&entry.path, &entry.attributes);
            let found = times::judge(&entry.path, &entry.attributes, &mut own);
            self.times.extend(found.map(|found| found.file(&entry.path)));
        }
    }

    pub(super) fn finish(self, all: &mut Vec<Finding>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        take(all, attempts, ("times set by hand", "times"), |_| Ok(self.times))?;
        take(all, attempts, ("files that cannot be changed", "flags"), |_| Ok(self.flags))
    }
}
