//! Open descriptors with what they hold and who holds the other end, namespaces and links of one process, as JSON.

use serde::Serialize;

use super::attempts::{Gathered, Miss, json};
use super::procdir::ProcDir;
use super::system::{Attributes, statx};
use crate::event::ProcessId;
use crate::plan::around::{Around, Holder, Object};
use crate::proc::{FdInfo, Held, namespace_inode};
use crate::text::Bytes;

/// Descriptors of one process; more are counted as missing.
const FDS_MAX: usize = 65_536;

/// Others at the other end of one descriptor that are listed; all are counted.
const PEERS_MAX: usize = 8;

/// A text of one descriptor; epoll and inotify list what they watch.
const TEXT_MAX: u64 = 64 << 10;

const NAMESPACES: &[&str] =
    &["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"];

#[derive(Serialize)]
struct Descriptor<'a> {
    fd: u32,
    target: Bytes,
    flags: String,
    position: u64,
    mount: Option<u32>,
    inode: Option<u64>,
    device: Option<(u32, u32)>,
    size: Option<u64>,
    /// Whether the file has no name any more.
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a str>,
    /// Who holds the other end of a pipe, a UNIX socket or a connection over this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Peer<'a>>,
    /// How many there are, where these are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    all_peers: Option<usize>,
    /// What it holds, where it is of the kernel's own kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    /// What may no longer be done to a file in memory (`F_SEAL_*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    seals: Option<i32>,
    /// The kernel's words beyond the fields above.
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Bytes>,
}

#[derive(Serialize)]
struct Peer<'a> {
    process: ProcessId,
    fd: u32,
    name: Option<&'a Bytes>,
}

/// `fd.json`.
pub(super) fn descriptors(around: &Around, dir: &ProcDir) -> Result<Gathered, Miss> {
    let (fds, whole) = dir.numbers("fd", FDS_MAX).map_err(|error| Miss::at("list descriptors", &error))?;
    let rows: Vec<Descriptor<'_>> = fds.iter().filter_map(|fd| descriptor(around, dir, *fd)).collect();
    let lack = (!whole).then(|| Miss::partial(format!("more than {FDS_MAX} descriptors")));
    Ok((json(&rows)?, lack))
}

/// One descriptor; none, if it was closed in the meantime.
fn descriptor<'a>(around: &'a Around, dir: &ProcDir, fd: u32) -> Option<Descriptor<'a>> {
    let name = format!("fd/{fd}");
    let target = dir.link(&name).ok()?;
    let text = dir.text(&format!("fdinfo/{fd}"), TEXT_MAX).map(|(text, _)| text).unwrap_or_default();
    let info = FdInfo::parse(&text);
    let attributes = dir.behind(&name).ok();
    let object = Object::of_link(&target);
    let (peers, all) = object.map(|object| peers(around, dir, fd, object)).unwrap_or_default();
    Some(Descriptor {
        fd,
        flags: format!("{:#o}", info.flags),
        position: info.position,
        mount: info.mount,
        inode: attributes.map(|found| found.inode).or(info.inode),
        device: attributes.map(|found| found.device),
        size: attributes.filter(Attributes::is_file).map(|found| found.size),
        deleted: attributes.is_some_and(|found| found.links == 0 && found.is_file()),
        socket: match object {
            Some(Object::Socket(inode)) => around.sockets.get(&inode).map(String::as_str),
            _ => None,
        },
        all_peers: (all > peers.len()).then_some(all),
        peers,
        held: Held::parse(&target, &text),
        seals: if target.starts_with(b"/memfd:") { seals(dir, &name) } else { None },
        info: beyond(&text),
        target: Bytes(target),
    })
}

/// Some of those at the other end, and how many there are.
fn peers<'a>(around: &'a Around, dir: &ProcDir, fd: u32, object: Object) -> (Vec<Peer<'a>>, usize) {
    let others = || around.other_ends(object).filter(|holder| (holder.process, holder.fd) != (dir.id(), fd));
    let peer = |holder: Holder| Peer {
        process: holder.process,
        fd: holder.fd,
        name: around.standings.get(&holder.process).map(|standing| &standing.name),
    };
    (others().take(PEERS_MAX).map(peer).collect(), others().count())
}

/// The seals of a file in memory: it is no device and on no remote server, so that opening it harms nothing.
fn seals(dir: &ProcDir, name: &str) -> Option<i32> {
    let path = dir.path(name).ok()?;
    statx(&path, c"").ok().filter(Attributes::is_file)?;
    let file = super::file::reopen(&path).ok()?;
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GET_SEALS).ok()
}

/// The lines of an `fdinfo` that are not among a descriptor's other fields.
fn beyond(text: &[u8]) -> Option<Bytes> {
    let known = [&b"pos:"[..], b"flags:", b"mnt_id:", b"ino:"];
    let mut rest = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if !known.iter().any(|key| line.starts_with(key)) {
            rest.extend_from_slice(line);
        }
    }
    (!rest.is_empty()).then_some(Bytes(rest))
}

#[derive(Serialize)]
struct Links {
    exe: Option<Bytes>,
    exe_deleted: bool,
    cwd: Option<Bytes>,
    root: Option<Bytes>,
    namespaces: serde_json::Map<String, serde_json::Value>,
}

/// `ns.json`: namespaces, and where `exe`, `cwd` and `root` lead.
pub(super) fn links(dir: &ProcDir) -> Result<Gathered, Miss> {
    let link = |name| dir.link(name).ok().map(Bytes);
    let namespaces = NAMESPACES.iter().filter_map(|name| {
        let inode = namespace_inode(&dir.link(&format!("ns/{name}")).ok()?)?;
        Some(((*name).to_owned(), inode.into()))
    });
    let exe = dir.behind("exe").ok();
    let links = Links {
        exe: link("exe"),
        exe_deleted: exe.is_some_and(|found| found.links == 0),
        cwd: link("cwd"),
        root: link("root"),
        namespaces: namespaces.collect(),
    };
    Ok((json(&links)?, None))
}
