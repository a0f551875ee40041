//! A child that is held before its first instruction, and killed: exec, fork, exit.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Findings, Options, Trial, Verdict, identity, scan};
use crate::event::{Action, Event, Exit, Image, ProcessId};
use crate::proc::{Stat, Status, nul_separated};
use crate::system::held::Held;
use crate::text::Bytes;

/// The programs that tell of it.
pub(super) const PROGRAMS: [&str; 3] = ["exec", "fork", "exit"];

/// The child, as /proc showed it.
pub(super) struct Child {
    us: ProcessId,
    them: ProcessId,
    truth: Image,
}

impl Child {
    /// Starts it, looks at it, and ends it.
    pub(super) fn happen(options: &Options) -> io::Result<Self> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("no child to look at: {error}"));
        let held = Held::spawn(Path::new("/proc/self/exe")).map_err(failed)?;
        let folder = options.proc_root.join(held.pid().to_string());
        let us = identity(&options.proc_root.join("self"), options);
        let them = identity(&folder, options);
        let truth = truth(&folder);
        held.kill()?;
        let (us, them, truth) = (us.map_err(failed)?, them.map_err(failed)?, truth.map_err(failed)?);
        Ok(Self { us, them, truth: Image { parent: Some(us), ..truth } })
    }
}

impl Trial for Child {
    fn concerns(&self, event: &Event) -> bool {
        event.process == self.them
    }

    fn findings(&self, events: &[Event]) -> Findings {
        let (us, them) = (self.us, self.them);
        let mut findings = vec![
            ("exec", Err(format!("the exec of {them}"))),
            ("fork", Err(format!("the birth of {them}"))),
            ("exit", Err(format!("the end of {them}"))),
        ];
        for event in events {
            let (name, verdict) = match &event.action {
                Action::Exec(image) => ("exec", compare(image, &self.truth)),
                Action::Fork(fork) if fork.parent == Some(us) => {
                    ("fork", Verdict::Agrees("pid, start and parent of a child equal /proc".to_owned()))
                }
                Action::Fork(fork) => {
                    let words = format!("the parent of a child is {us}, the probe says {fork:?}");
                    ("fork", Verdict::Disagrees(words))
                }
                Action::Exit(Exit { code: 0, signal: 9 }) => {
                    ("exit", Verdict::Agrees("a child killed by signal 9".to_owned()))
                }
                Action::Exit(exit) => {
                    let words = format!("a child was killed by signal 9, the probe says {exit:?}");
                    ("exit", Verdict::Disagrees(words))
                }
                _ => continue,
            };
            if let Some((_, finding)) = findings.iter_mut().find(|(other, _)| *other == name) {
                *finding = Ok(verdict);
            }
        }
        findings
    }
}

/// The child as /proc shows it while it is held.
fn truth(folder: &Path) -> io::Result<Image> {
    let stat = Stat::parse(&scan::read(&folder.join("stat"))?).map_err(io::Error::other)?;
    let status = Status::parse(&scan::read(&folder.join("status"))?).map_err(io::Error::other)?;
    let file = std::fs::metadata(folder.join("exe"))?;
    let [_, uid, ..] = status.uids;
    let [_, gid, ..] = status.gids;
    Ok(Image {
        name: stat.comm,
        executable: scan::link(&folder.join("exe")).unwrap_or_default(),
        filename: Bytes::from("/proc/self/exe"),
        args: nul_separated(&scan::read(&folder.join("cmdline"))?, afterimage_ebpf::ARGS_BYTES).strings,
        working_directory: scan::link(&folder.join("cwd")).unwrap_or_default(),
        inode: file.ino(),
        links: u32::try_from(file.nlink()).ok(),
        uid,
        gid,
        namespaces: scan::namespaces(folder),
        ..Image::default()
    })
}

/// The fields that both know. A path of the probe's begins at the mount namespace's root, one of /proc's at ours; the
/// users of /proc are those of our own user namespace.
fn compare(seen: &Image, truth: &Image) -> Verdict {
    let ends = |whole: &Bytes, end: &Bytes| whole.as_slice().ends_with(end.as_slice());
    let same_users = seen.namespaces.user == INITIAL_USER_NAMESPACE;
    let facts = [
        ("parent", seen.parent == truth.parent),
        ("name", seen.name == truth.name),
        ("executable", ends(&seen.executable, &truth.executable) || truth.links == Some(0)),
        ("file name", seen.filename == truth.filename),
        ("arguments", seen.args == truth.args),
        ("working directory", ends(&seen.working_directory, &truth.working_directory)),
        ("inode", seen.inode == truth.inode),
        ("link count", seen.links.is_none() || seen.links == truth.links),
        ("user and group", !same_users || (seen.uid, seen.gid) == (truth.uid, truth.gid)),
        ("namespaces", same_namespaces(seen, truth)),
    ];
    let differ: Vec<_> = facts.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    if differ.is_empty() {
        Verdict::Agrees(format!("equal to /proc: {}", facts.map(|(name, _)| name).join(", ")))
    } else {
        Verdict::Disagrees(format!("not as in /proc: {}: {seen:?} against {truth:?}", differ.join(", ")))
    }
}

/// `PROC_USER_INIT_INO` (include/linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u32 = 0xefff_fffd;

fn same_namespaces(seen: &Image, truth: &Image) -> bool {
    let (seen, truth) = (seen.namespaces, truth.namespaces);
    [(seen.pid, truth.pid), (seen.mnt, truth.mnt), (seen.net, truth.net), (seen.user, truth.user)]
        .iter()
        .all(|&(seen, truth)| seen == 0 || truth == 0 || seen == truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named() {
        let truth = Image { executable: Bytes::from("/a"), inode: 1, links: Some(1), ..Image::default() };
        let seen = Image { executable: Bytes::from("/root/a"), ..truth.clone() };
        assert!(matches!(compare(&seen, &truth), Verdict::Agrees(_)));
        let wrong = Image { inode: 2, args: vec![Bytes::from("x")], ..seen };
        let Verdict::Disagrees(words) = compare(&wrong, &truth) else { panic!("it agrees") };
        let words = words.split(": Image").next().unwrap();
        assert!(
            words.contains("arguments") && words.contains("inode") && !words.contains("parent"),
            "{words}"
        );
    }
}
