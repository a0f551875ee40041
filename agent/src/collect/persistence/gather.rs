//! The files of all places, found by patterns, and what each of them starts.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use crate::collect::attempts::Miss;
use crate::collect::file::text;
use crate::collect::matching::Matching;
use crate::collect::passwd::User;
use crate::collect::system::Attributes;
use crate::collect::walk::{Entry, Walker};
use crate::definitions::Pattern;
use crate::persistence::lines::base;
use crate::persistence::places::PLACES;
use crate::persistence::{Kind, Source, Start, includes, link, starts};

/// Bytes that are read of one file; of a program its beginning is enough.
const TEXT_MAX: u64 = 1 << 20;
/// Files of one capture, and further patterns that they name.
const FILES_MAX: usize = 20_000;
const INCLUDES_MAX: usize = 200;
/// Files that were looked at, with and without something that starts.
const SEEN_MAX: usize = 100_000;
/// What starts in all files together, and bytes of one command: the longest path.
const STARTS_MAX: usize = 100_000;
const WHAT_MAX: usize = 4096;

/// One file, or link, that starts something.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) starts: Vec<Start>,
    /// Whose home it lies in.
    pub(super) uid: Option<u32>,
}

/// All of them, and what may not be looked at.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) files: Vec<File>,
    pub(super) refused: BTreeMap<Vec<u8>, Miss>,
    seen: HashSet<(Kind, Vec<u8>)>,
    /// In all files.
    starts: usize,
}

/// A pattern to look for.
struct Wanted<'a> {
    kind: Kind,
    when: &'static str,
    pattern: Pattern,
    user: Option<&'a User>,
}

pub(super) fn gather(walker: &mut Walker, people: &[User]) -> Gathered {
    let mut queue: VecDeque<Wanted<'_>> = VecDeque::new();
    for place in PLACES {
        let Ok(pattern) = Pattern::parse(place.pattern.as_bytes()) else { continue };
        let users: Vec<Option<&User>> =
            if pattern.at_home { people.iter().map(Some).collect() } else { vec![None] };
        let wanted = |user| Wanted { kind: place.kind, when: place.when, pattern: pattern.clone(), user };
        queue.extend(users.into_iter().map(wanted));
    }
    let mut all = Gathered::default();
    let mut more = INCLUDES_MAX;
    while let Some(wanted) = queue.pop_front() {
        for pattern in all.look(walker, &wanted) {
            // A file that names itself ends here, too: it was seen.
            if more > 0
                && let Ok(pattern) = Pattern::parse(&pattern)
            {
                more = more.saturating_sub(1);
                queue.push_back(Wanted { pattern, ..wanted });
            }
        }
    }
    all
}

impl Gathered {
    /// Looks for one pattern; the further patterns that its files name.
    fn look(&mut self, walker: &mut Walker, wanted: &Wanted<'_>) -> Vec<Vec<u8>> {
        let homes: Vec<Vec<u8>> = wanted.user.iter().map(|user| user.home.clone()).collect();
        let mut matching = Matching::new(walker, &homes);
        matching.look(&wanted.pattern);
        let Matching { found, links, refused, .. } = matching;
        self.refused.extend(refused);
        if matches!(wanted.kind, Kind::SystemdLink | Kind::RunlevelLink) {
            for (path, target) in links {
                self.link(wanted, path, &target);
            }
            return Vec::new();
        }
        let mut more = Vec::new();
        for (path, attributes) in found {
            more.extend(self.file(walker, wanted, path, &attributes));
        }
        more
    }

    fn file(
        &mut self,
        walker: &mut Walker,
        wanted: &Wanted<'_>,
        path: Vec<u8>,
        attributes: &Attributes,
    ) -> Vec<Vec<u8>> {
        let runs = !wanted.kind.is_program() || attributes.mode & 0o111 != 0;
        if !attributes.is_file() || !runs || !self.is_new(walker, wanted.kind, &path) {
            return Vec::new();
        }
        let read = |path: &[u8]| {
            walker.find(path).and_then(|entry: Entry| text(&entry.fd, &walker.remote, TEXT_MAX))
        };
        let (text, whole) = match read(&path) {
            Ok(read) => read,
            Err(miss) => {
                self.refused.insert(path, miss);
                return Vec::new();
            }
        };
        let beside = match wanted.kind {
            Kind::Container => {
                let folder = path.strip_suffix(base(&path)).unwrap_or_default();
                read(&[folder, b"hostconfig.json"].concat()).unwrap_or_default().0
            }
            _ => Vec::new(),
        };
        let source = Source {
            kind: wanted.kind,
            path: &path,
            text: &text,
            user: wanted.user.map(|user| (user.name.as_slice(), user.home.as_slice())),
            when: wanted.when,
            beside: &beside,
        };
        let (mut starts, more) = (starts(&source), includes(&source));
        self.bound(walker, &path, &mut starts);
        if !whole && !wanted.kind.is_program() {
            walker.lack(&path, "only its beginning was read");
        }
        if !starts.is_empty() {
            self.files.push(File { kind: wanted.kind, path, starts, uid: wanted.user.map(|user| user.uid) });
        }
        more
    }

    /// Whoever has a home may write as much as there is room for: commands are cut, and their number has an end.
    fn bound(&mut self, walker: &mut Walker, path: &[u8], starts: &mut Vec<Start>) {
        let room = STARTS_MAX.saturating_sub(self.starts);
        if starts.len() > room {
            walker.stop(path);
            starts.truncate(room);
        }
        self.starts = self.starts.saturating_add(starts.len());
        for start in starts {
            if start.what.len() > WHAT_MAX {
                start.what.truncate(WHAT_MAX);
                start.what.extend_from_slice(b" ...");
            }
            // No path is longer.
            start.target = start.target.take().filter(|target| target.len() <= WHAT_MAX);
        }
    }

    fn link(&mut self, wanted: &Wanted<'_>, path: Vec<u8>, target: &[u8]) {
        // Links on the way to it are not meant.
        let above = wanted.user.map_or(0, |user| depth(&user.home));
        if depth(&path) != above.saturating_add(wanted.pattern.parts.len()) {
            return;
        }
        let folder = path.strip_suffix(base(&path)).unwrap_or_default();
        let target = if target.starts_with(b"/") { target.to_vec() } else { [folder, target].concat() };
        let user = wanted.user.map(|user| user.name.as_slice());
        if self.seen.insert((wanted.kind, path.clone()))
            && let Some(start) = link(wanted.kind, &path, &target, user)
        {
            let uid = wanted.user.map(|user| user.uid);
            self.files.push(File { kind: wanted.kind, path, starts: vec![start], uid });
        }
    }

    fn is_new(&mut self, walker: &mut Walker, kind: Kind, path: &[u8]) -> bool {
        if self.files.len() >= FILES_MAX || self.seen.len() >= SEEN_MAX || Instant::now() >= walker.until {
            walker.stop(path);
            return false;
        }
        self.seen.insert((kind, path.to_vec()))
    }
}

fn depth(path: &[u8]) -> usize {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count()
}
