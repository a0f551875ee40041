//! Places that the processes in scope name: in their command line, as working directory, as what they ran. Pure.

use std::collections::BTreeMap;

use super::names::{is_dot, is_hidden, split};
use crate::event::Image;
use crate::history::tree::Tree;
use crate::plan::{InScope, Plan, Why};

/// Places of one capture; the processes of highest priority come first.
const PLACES_MAX: usize = 1_000;

/// Hidden directories that everybody has: what is named below them is meant, not they.
const ORDINARY: &[&[u8]] = &[
    b".cache",
    b".config",
    b".local",
    b".ssh",
    b".gnupg",
    b".npm",
    b".nvm",
    b".cargo",
    b".rustup",
    b".git",
    b".venv",
    b".pyenv",
    b".m2",
    b".gradle",
    b".vscode-server",
    b".docker",
    b".kube",
    b".aws",
    b".azure",
    b".build-id",
];

/// One place, and who named it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: Vec<u8>,
    pub(super) reasons: Vec<String>,
}

/// The places, those of the most important processes first.
pub(super) fn places(tree: &Tree, plan: &Plan) -> Vec<Place> {
    let mut order: Vec<Vec<u8>> = Vec::new();
    let mut reasons: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for one in &plan.scope {
        let images = tree.get(&one.id).map(|node| node.images.as_slice()).unwrap_or_default();
        for (path, how) in images.iter().flat_map(|(_, image)| named(image, one)) {
            if !reasons.contains_key(&path) {
                if order.len() >= PLACES_MAX {
                    continue;
                }
                order.push(path.clone());
            }
            let reason = format!("{how} of process {}", one.id.short());
            let known = reasons.entry(path).or_default();
            if !known.contains(&reason) {
                known.push(reason);
            }
        }
    }
    let take = |path: Vec<u8>| Place { reasons: reasons.remove(&path).unwrap_or_default(), path };
    order.into_iter().map(take).collect()
}

fn named(image: &Image, one: &InScope) -> Vec<(Vec<u8>, &'static str)> {
    let mut found = Vec::new();
    let cwd = image.working_directory.as_slice();
    if is_hidden(cwd) {
        found.push((cwd.to_vec(), "hidden working directory"));
    }
    let ran = [image.executable.as_slice(), image.filename.as_slice()];
    for path in ran.into_iter().filter(|path| path.starts_with(b"/")) {
        if is_hidden(path) {
            found.push((hidden_part(path), "hidden executable"));
        } else if one.why <= Why::Descendant && !is_system(path) {
            found.push((path.to_vec(), "executable"));
        }
    }
    for argument in &image.args {
        // `--config=/home/u/.x/y` names a path as well.
        let value = argument.as_slice().splitn(2, |&byte| byte == b'=').last().unwrap_or_default();
        if is_hidden(value) {
            found.push((hidden_part(value), "hidden path in the command line"));
        }
    }
    found
}

/// The path up to its deepest hidden component, unless that is an ordinary one.
fn hidden_part(path: &[u8]) -> Vec<u8> {
    let mut rest = path;
    loop {
        let (folder, name) = split(rest);
        if is_dot(name) && !ORDINARY.contains(&name) {
            return rest.to_vec();
        }
        if folder == b"/" || ORDINARY.contains(&name) {
            return path.to_vec();
        }
        rest = folder;
    }
}

/// Where packages put programs.
fn is_system(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    [&b"usr"[..], b"bin", b"sbin", b"lib", b"lib64", b"nix", b"snap"].contains(&first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::collect::testing;
    use crate::event::{Action, BootId, Event, Exit, ProcessId, Source};
    use crate::history::tree::Bounds;
    use crate::plan;
    use crate::text::Bytes;

    #[test]
    fn an_exited_process_that_named_a_hidden_directory_leads_there() {
        let id = ProcessId { boot: BootId([1; 16]), pid: 9, start: 3 };
        let image = Image {
            executable: Bytes::from("/home/u/.cache/.sys/xmrig"),
            args: ["./xmrig", "--log=/tmp/.l", "/home/u/.config/app/x", "-rf", "/etc/hosts"]
                .map(Bytes::from)
                .to_vec(),
            working_directory: Bytes::from("/home/u/.cache/.sys"),
            ..Image::default()
        };
        let other = Image { executable: Bytes::from("/home/u/dashboard/x"), ..Image::default() };
        let shell = Image { executable: Bytes::from("/usr/bin/dash"), ..Image::default() };
        let mut tree = Tree::new(Bounds::COLLECTOR);
        let mut actions: Vec<Action> =
            [image, other, shell].map(|image| Action::Exec(Box::new(image))).to_vec();
        actions.push(Action::Exit(Exit { code: 0, signal: 0 }));
        for action in actions {
            let time = "2026-11-20T14:00:00Z".parse().unwrap();
            tree.apply(&Event { time, source: Source::Agent, process: id, action });
        }
        let found =
            places(&tree, &plan::plan(&testing::job(), &tree, &[id], &plan::around::Around::default()));
        let paths: Vec<&str> = found.iter().map(|place| std::str::from_utf8(&place.path).unwrap()).collect();
        assert_eq!(paths, ["/home/u/.cache/.sys", "/tmp/.l", "/home/u/.config/app/x", "/home/u/dashboard/x"]);
        assert_eq!(
            found[0].reasons,
            ["hidden working directory of process 9-3", "hidden executable of process 9-3"]
        );
    }

    proptest! {
        #[test]
        fn the_hidden_part_is_the_path_or_a_folder_of_it(path in "/[a.b/ ]{0,30}") {
            let part = hidden_part(path.as_bytes());
            prop_assert!(path.as_bytes().starts_with(&part));
        }
    }
}
