//! The self-check: happenings of our own making, as the probe tells them and as /proc does. A program that disagrees is
//! not believed.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::probe::{Options, Probe};
use super::scan;
use crate::event::{Action, Event, Exit, Image, ProcessId};
use crate::proc::{Stat, Status, nul_separated};
use crate::system::held::Held;
use crate::text::Bytes;

/// What the check of one program found.
pub(super) enum Verdict {
    /// What was compared, in words.
    Agrees(String),
    /// What differs, in words.
    Disagrees(String),
    /// Why nothing could be compared.
    Unchecked(String),
}

/// Checks every attached program; takes those off that disagree. The check's own events do not reach the history.
pub(super) fn run(probe: &mut Probe, options: &Options) {
    let verdicts = child(probe, options).unwrap_or_else(|error| {
        let reason = format!("no child could be started: {error}");
        ["exec", "fork", "exit"].map(|name| (name, Verdict::Unchecked(reason.clone()))).into()
    });
    let network = network(probe, options).unwrap_or_else(|error| {
        let reason = format!("no connection over the loopback interface: {error}");
        ["tcp", "accept", "accepted2", "accepted4", "udp4"]
            .map(|name| (name, Verdict::Unchecked(reason.clone())))
            .into()
    });
    for (name, verdict) in verdicts.into_iter().chain(network) {
        if probe.report().is_attached(name) {
            probe.judge(name, verdict);
        }
    }
}

type Verdicts = Vec<(&'static str, Verdict)>;

fn child(probe: &mut Probe, options: &Options) -> io::Result<Verdicts> {
    let held = Held::spawn(Path::new("/proc/self/exe"))?;
    let folder = options.proc_root.join(held.pid().to_string());
    let us = identity(&options.proc_root.join("self"), options);
    let them = identity(&folder, options);
    let truth = truth(&folder);
    held.kill()?;
    let (us, them, truth) = (us?, them?, truth?);
    let events = own(probe, &|event| event.process == them);
    let find = |wanted: &dyn Fn(&Action) -> bool| events.iter().find(|event| wanted(&event.action));
    let fork = match find(&|action| matches!(action, Action::Fork(_))).map(|event| &event.action) {
        Some(Action::Fork(fork)) if fork.parent == Some(us) => {
            Verdict::Agrees("pid, start and parent of a child equal /proc".to_owned())
        }
        Some(other) => Verdict::Disagrees(format!("the parent of a child is {us}, the probe says {other:?}")),
        None => Verdict::Disagrees(format!("the birth of {them} did not arrive")),
    };
    let exec = match find(&|action| matches!(action, Action::Exec(_))).map(|event| &event.action) {
        Some(Action::Exec(image)) => compare(image, &Image { parent: Some(us), ..truth }),
        _ => Verdict::Disagrees(format!("the exec of {them} did not arrive")),
    };
    let killed = Exit { code: 0, signal: 9 };
    let exit = match find(&|action| matches!(action, Action::Exit(_))).map(|event| &event.action) {
        Some(Action::Exit(exit)) if *exit == killed => {
            Verdict::Agrees("a child killed by signal 9".to_owned())
        }
        Some(other) => {
            Verdict::Disagrees(format!("a child was killed by signal 9, the probe says {other:?}"))
        }
        None => Verdict::Disagrees(format!("the end of {them} did not arrive")),
    };
    Ok(vec![("exec", exec), ("fork", fork), ("exit", exit)])
}

fn identity(folder: &Path, options: &Options) -> io::Result<ProcessId> {
    let stat = Stat::parse(&scan::read(&folder.join("stat"))?).map_err(io::Error::other)?;
    Ok(ProcessId { boot: options.boot, pid: stat.pid, start: stat.start })
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

fn network(probe: &mut Probe, options: &Options) -> io::Result<Verdicts> {
    let us = identity(&options.proc_root.join("self"), options)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = TcpStream::connect(address)?;
    let (_server, peer) = listener.accept()?;
    let datagram = send("127.0.0.1:0")?;
    let datagram6 = send("[::1]:0");
    drop(client);
    let events = own(probe, &|event| event.process == us);
    let told = |wanted: &dyn Fn(&Action) -> bool| events.iter().any(|event| wanted(&event.action));
    let heard = told(&|action| matches!(action, Action::Listen(flow) if flow.local == address));
    let connected = told(&|action| matches!(action, Action::Connect(flow) if flow.remote == address));
    let accepted = told(
        &|action| matches!(action, Action::Accept(flow) if flow.local == address && flow.remote == peer),
    );
    let sent = |address| told(&|action| matches!(action, Action::Datagram(flow) if flow.remote == address));
    let (what, sent4) = ("a datagram to a new peer", sent(datagram));
    let udp6 = match datagram6 {
        Ok(address) => verdict(sent(address), what, address),
        Err(error) => Verdict::Unchecked(format!("no datagram over IPv6: {error}")),
    };
    let acceptance = |name| (name, verdict(accepted, "an accepted connection and its peer", address));
    Ok(vec![
        ("tcp", verdict(heard && connected, "a socket that listens and a connection to it", address)),
        acceptance("accept"),
        acceptance("accepted2"),
        acceptance("accepted4"),
        ("udp4", verdict(sent4, what, datagram)),
        ("udp6", udp6),
    ])
}

/// Sends a datagram to a socket of our own; where it was sent.
fn send(own: &str) -> io::Result<SocketAddr> {
    let receiver = UdpSocket::bind(own)?;
    let address = receiver.local_addr()?;
    UdpSocket::bind(own)?.send_to(b"afterimage", address)?;
    Ok(address)
}

fn verdict(told: bool, what: &str, address: SocketAddr) -> Verdict {
    if told {
        Verdict::Agrees(format!("{what}, on the loopback interface"))
    } else {
        Verdict::Disagrees(format!("{what} at {address} did not arrive"))
    }
}

/// The events that are now in the ring and concern the check; the others are kept for the recorder.
fn own(probe: &mut Probe, wanted: &dyn Fn(&Event) -> bool) -> Vec<Event> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    probe.drain(&mut |event| if wanted(&event) { own.push(event) } else { others.push(event) });
    probe.keep_early(others);
    own
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
