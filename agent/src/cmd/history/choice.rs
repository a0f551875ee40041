//! Which processes are asked for.

use std::collections::HashSet;

use super::{Error, HistoryArgs, Window};
use crate::event::{Action, Event, Image, ProcessId};
use crate::history::index::Term;
use crate::history::query::Library;
use crate::text;

/// A question, and what it is asked of.
pub(super) struct Choice<'a> {
    pub(super) args: &'a HistoryArgs,
    pub(super) library: &'a Library,
    pub(super) window: Window,
}

impl Choice<'_> {
    /// Who fits all that is asked for; `None` when nothing is.
    pub(super) fn processes(&self) -> Result<Option<HashSet<ProcessId>>, Error> {
        let Self { args, library, .. } = self;
        let mut chosen = None;
        if let Some(pid) = args.pid {
            chosen = Some(library.with_pid(pid));
        }
        if let Some(pid) = args.subtree {
            chosen = Some(library.descendants(&library.with_pid(pid)));
        }
        if let Some(path) = &args.path {
            let path = text::unescape(path).unwrap_or_else(|| path.clone().into_bytes());
            let ran = |event: &Event| image(event).is_some_and(|image| is_of(image, &path));
            narrow(&mut chosen, self.whose(Term::name(&path), &ran)?);
        }
        if let Some(uid) = args.user {
            let was = |event: &Event| image(event).is_some_and(|image| image.uid == uid);
            narrow(&mut chosen, self.whose(Term::user(uid), &was)?);
        }
        if let Some(address) = args.address {
            let address = address.to_canonical();
            let spoke = |event: &Event| remote(event).is_some_and(|remote| remote.to_canonical() == address);
            narrow(&mut chosen, self.whose(Term::remote(address), &spoke)?);
        }
        Ok(chosen)
    }

    /// The processes with an event that `fits`, in the window and in a frame with `term`.
    fn whose(&self, term: Term, fits: &dyn Fn(&Event) -> bool) -> Result<HashSet<ProcessId>, Error> {
        let Self { library, window, .. } = self;
        let mut found = HashSet::new();
        for place in library.with(&[term]).into_iter().flatten() {
            let mut look = |event: Event| {
                if fits(&event) {
                    found.insert(event.process);
                }
            };
            library.read(place, &|line| window.holds(line.time), &mut look).map_err(Error::failed)?;
        }
        Ok(found)
    }
}

fn narrow(chosen: &mut Option<HashSet<ProcessId>>, found: HashSet<ProcessId>) {
    *chosen = Some(match chosen.take() {
        Some(before) => before.intersection(&found).copied().collect(),
        None => found,
    });
}

fn image(event: &Event) -> Option<&Image> {
    match &event.action {
        Action::Exec(image) | Action::Running(image) => Some(image),
        _ => None,
    }
}

fn remote(event: &Event) -> Option<std::net::IpAddr> {
    match &event.action {
        Action::Connect(flow) | Action::Accept(flow) | Action::Datagram(flow) => Some(flow.remote.ip()),
        _ => None,
    }
}

/// Whether `image` is of the file `path`; without a slash, of a file with this name in any folder.
fn is_of(image: &Image, path: &[u8]) -> bool {
    let last = |file: &[u8]| file.rsplit(|&byte| byte == b'/').next() == Some(path);
    let files = [image.executable.as_slice(), image.filename.as_slice()];
    files.into_iter().any(|file| file == path || (!path.contains(&b'/') && last(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Bytes;

    #[test]
    fn a_path_is_one_file_and_a_name_is_one_in_any_folder() {
        let image = Image {
            executable: Bytes::from("/usr/bin/python3.11"),
            filename: Bytes::from("/srv/run.py"),
            ..Image::default()
        };
        for (path, fits) in [
            ("/usr/bin/python3.11", true),
            ("python3.11", true),
            ("run.py", true),
            ("/bin/python3.11", false),
            ("python3", false),
            ("", false),
        ] {
            assert_eq!(is_of(&image, path.as_bytes()), fits, "{path}");
        }
    }

    #[test]
    fn each_question_narrows_the_choice() {
        let id = |pid| ProcessId { boot: crate::event::BootId([1; 16]), pid, start: 1 };
        let mut chosen = None;
        narrow(&mut chosen, HashSet::from([id(1), id(2)]));
        narrow(&mut chosen, HashSet::from([id(2), id(3)]));
        assert_eq!(chosen, Some(HashSet::from([id(2)])));
    }
}
