//! Why an entry is suspicious. Pure: all that has to be asked of the host is in the case.

use std::collections::{BTreeMap, HashMap};

use super::Suspicious;
use super::gather::File;
use super::target::Target;
use crate::collect::packages::{Content, Judged};
use crate::persistence::lines::{base, split_once};
use crate::persistence::{Kind, Start, Who};

/// One entry, and what is known of the files it is about.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    pub(super) file: &'a File,
    pub(super) start: &'a Start,
    /// The file itself.
    pub(super) own: Option<&'a Judged>,
    pub(super) target: Option<&'a Target>,
    /// The file of the target.
    pub(super) led: Option<&'a Judged>,
    pub(super) who: Who,
    pub(super) users: &'a BTreeMap<Vec<u8>, u32>,
}

/// As whom the units of systemd run, by their names.
pub(super) fn units(files: &[File]) -> HashMap<Vec<u8>, Who> {
    let units = files.iter().filter(|file| file.kind == Kind::SystemdUnit);
    let named = units.filter_map(|file| {
        let who = file.starts.iter().map(|start| &start.who).find(|who| !matches!(who, Who::Unit(_)))?;
        Some((base(&file.path).to_vec(), who.clone()))
    });
    named.collect()
}

/// As whom: of a unit, as its file says.
pub(super) fn who(start: &Start, units: &HashMap<Vec<u8>, Who>) -> Who {
    let Who::Unit(name) = &start.who else { return start.who.clone() };
    let instance = split_once(name, b'@').and_then(|(stem, rest)| {
        let ending = rest.get(rest.iter().rposition(|&byte| byte == b'.')?..)?;
        Some([stem, b"@", ending].concat())
    });
    let known = units.get(name).or_else(|| units.get(&instance?));
    known.cloned().unwrap_or_else(|| Who::User(b"root".to_vec()))
}

/// Whether an entry is not worth a line: an odd line of a script that is as its package brought it.
pub(super) fn is_noise(kind: Kind, start: &Start, own: Option<&Judged>) -> bool {
    kind.is_program() && start.line > 0 && own.is_some_and(Judged::is_trusted)
}

/// The reasons; none for most. `understood`: whether it is known which files are packages'.
pub(super) fn reasons(case: &Case<'_>, understood: bool) -> Vec<String> {
    let mut reasons: Vec<&str> = Vec::new();
    let Case { file, start, own, led, .. } = case;
    if !own.is_some_and(Judged::is_trusted) {
        reasons.extend(&start.odd);
        reasons.extend(file.kind.odd_if_foreign().filter(|_| understood || file.kind == Kind::Preload));
        if file.kind.needs_target() && case.target.is_some_and(|target| target.exists() == Some(false)) {
            reasons.push("what it starts is not there");
        }
    }
    if let Some(own) = own {
        if own.content == Content::Changed && !file.kind.is_setting() {
            reasons.push("changed since its package brought it");
        }
        reasons.extend(loose(case, own));
    }
    // The file may be its own target.
    if let Some(led) = led
        && case.target.and_then(Target::path) != Some(&file.path)
    {
        if led.content == Content::Changed {
            reasons.push("what it starts was changed since its package brought it");
        }
        reasons.extend(loose(case, led).map(|_| "others may change what it starts"));
        if file.kind == Kind::Pam && led.package.is_none() && understood {
            reasons.push("a PAM module that no package brought");
        }
    }
    let mut words: Vec<String> = Vec::new();
    for reason in reasons {
        if !words.iter().any(|word| word == reason) {
            words.push(reason.to_owned());
        }
    }
    words
}

/// Whether somebody may change a file who is neither root nor whom it runs as.
fn loose(case: &Case<'_>, judged: &Judged) -> Option<&'static str> {
    let attributes = &judged.attributes;
    if !attributes.is_file() {
        return None;
    }
    let own = match &case.who {
        Who::User(name) => case.users.get(name).copied(),
        _ => None,
    };
    let is_roots = matches!(&case.who, Who::User(name) if name == b"root") || case.who == Who::Everybody;
    let known = attributes.uid == 0 || Some(attributes.uid) == own || Some(attributes.uid) == case.file.uid;
    let by_group = attributes.mode & 0o020 != 0 && attributes.gid != 0 && is_roots && case.file.uid.is_none();
    let loose = attributes.mode & 0o002 != 0 || !known || by_group;
    loose.then_some("others may change it")
}

/// The files of a suspicious entry.
pub(super) fn suspicious(case: &Case<'_>, reasons: &[String]) -> Vec<Suspicious> {
    if reasons.is_empty() {
        return Vec::new();
    }
    let words = |part: &str| -> Vec<String> {
        reasons.iter().map(|reason| format!("persistence, {part}: {reason}")).collect()
    };
    let one = |path: &[u8], judged: &Judged, part: &str| {
        let attributes = judged.attributes;
        attributes.is_file().then(|| Suspicious { path: path.to_vec(), reasons: words(part), attributes })
    };
    let place = case.own.and_then(|own| one(&case.file.path, own, "the place"));
    let path = case.target.and_then(Target::path).filter(|path| **path != case.file.path);
    let started = path.zip(case.led).and_then(|(path, led)| one(path, led, "what is started"));
    // A program of a package, as it was, is not what is suspicious.
    let started = started.filter(|_| !case.led.is_some_and(Judged::is_trusted));
    place.into_iter().chain(started).collect()
}
