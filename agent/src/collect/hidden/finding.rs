//! What two views of one thing do not agree on, with what each of them says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::super::attempts::{Attempts, Found, Miss, Room};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::text::Bytes;

/// Findings of one kind; more are counted.
const FINDINGS_MAX: usize = 10_000;
/// Things that could not be seen, in words.
const LACKS_MAX: usize = 16;

/// Something that hides, or is not what it seems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::collect) struct Finding {
    /// What it is about: a path, or as the kernel names it (`/proc/17`, `socket:[4711]`).
    pub(in crate::collect) object: Bytes,
    pub(in crate::collect) reason: &'static str,
    /// The evidence.
    pub(in crate::collect) views: Vec<View>,
    /// A file of the host's that is worth having.
    #[serde(skip)]
    pub(in crate::collect) file: Option<Vec<u8>>,
}

/// What one source says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::collect) struct View {
    source: Cow<'static, str>,
    says: Bytes,
}

impl Finding {
    pub(super) fn new(object: impl Into<Bytes>, reason: &'static str) -> Self {
        Self { object: object.into(), reason, views: Vec::new(), file: None }
    }

    /// With what `source` says.
    pub(super) fn view(self, source: impl Into<Cow<'static, str>>, says: impl Into<Bytes>) -> Self {
        self.with(View::new(source, says))
    }

    pub(super) fn with(mut self, view: View) -> Self {
        self.views.push(view);
        self
    }

    /// With a file that is copied.
    pub(super) fn file(mut self, path: &[u8]) -> Self {
        self.file = Some(path.to_vec());
        self
    }
}

impl View {
    pub(super) fn new(source: impl Into<Cow<'static, str>>, says: impl Into<Bytes>) -> Self {
        Self { source: source.into(), says: says.into() }
    }
}

/// What came of one kind of look.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// How much of what was compared.
    compared: BTreeMap<Cow<'static, str>, usize>,
    findings: Vec<Finding>,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacks: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Report {
    pub(super) fn compared(&mut self, what: impl Into<Cow<'static, str>>, count: usize) {
        let known = self.compared.entry(what.into()).or_default();
        *known = known.saturating_add(count);
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    pub(super) fn lack(&mut self, why: String) {
        if self.lacks.len() < LACKS_MAX && !self.lacks.contains(&why) {
            self.lacks.push(why);
        }
    }
}

/// One attempt, `hidden/<name>.json`; its findings go to `all` as well.
pub(super) fn take(
    all: &mut Vec<Finding>,
    attempts: &mut Attempts<'_>,
    (subject, name): (&str, &str),
    look: impl FnOnce(Room) -> Result<Report, Miss>,
) -> Result<(), Error> {
    let mut findings = Vec::new();
    attempts.take(subject, &Name::data(&["hidden", &format!("{name}.json")]), |room| {
        let report = look(room)?;
        let mut lacks = report.lacks.clone();
        if report.left_out > 0 {
            lacks.push(format!("{} findings were too many", report.left_out));
        }
        let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
        let found = Found::json(&report)?.lacking(lack);
        findings = report.findings;
        Ok(found)
    })?;
    all.append(&mut findings);
    Ok(())
}
