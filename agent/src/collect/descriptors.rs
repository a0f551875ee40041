//! Open descriptors, namespaces, links and threads of one process, as JSON.

use serde::Serialize;

use super::Context;
use super::attempts::{Found, Miss};
use super::procdir::ProcDir;
use super::system::{Attributes, statx};
use crate::proc::{FdInfo, namespace_inode};
use crate::text::Bytes;

/// Descriptors and threads of one process; more are counted as missing.
const FDS_MAX: usize = 65_536;
const THREADS_MAX: usize = 16_384;

/// A text of one thread or descriptor; epoll and inotify list what they watch.
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
}

/// `fd.json`.
pub(super) fn descriptors(context: &Context<'_>, dir: &ProcDir) -> Result<Found<'static>, Miss> {
    let (fds, whole) = dir.numbers("fd", FDS_MAX).map_err(|error| Miss::at("list descriptors", &error))?;
    let rows: Vec<Descriptor<'_>> = fds.iter().filter_map(|fd| descriptor(context, dir, *fd)).collect();
    let lack = (!whole).then(|| Miss::partial(format!("more than {FDS_MAX} descriptors")));
    Ok(Found::json(&rows)?.lacking(lack))
}

/// One descriptor; none, if it was closed in the meantime.
fn descriptor<'a>(context: &'a Context<'_>, dir: &ProcDir, fd: u32) -> Option<Descriptor<'a>> {
    let name = format!("fd/{fd}");
    let target = dir.link(&name).ok()?;
    let info = dir.text(&format!("fdinfo/{fd}"), TEXT_MAX).map(|(text, _)| FdInfo::parse(&text));
    let info = info.unwrap_or_default();
    let attributes = dir.path(&name).and_then(|path| statx(path, c"")).ok();
    let inode = attributes.map(|found| found.inode).or(info.inode);
    Some(Descriptor {
        fd,
        flags: format!("{:#o}", info.flags),
        position: info.position,
        mount: info.mount,
        inode,
        device: attributes.map(|found| found.device),
        size: attributes.filter(Attributes::is_file).map(|found| found.size),
        deleted: attributes.is_some_and(|found| found.links == 0 && found.is_file()),
        socket: inode
            .filter(|_| target.starts_with(b"socket:["))
            .and_then(|inode| context.sockets.get(&inode).map(String::as_str)),
        target: Bytes(target),
    })
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
pub(super) fn links(dir: &ProcDir) -> Result<Found<'static>, Miss> {
    let link = |name| dir.link(name).ok().map(Bytes);
    let namespaces = NAMESPACES.iter().filter_map(|name| {
        let inode = namespace_inode(&dir.link(&format!("ns/{name}")).ok()?)?;
        Some(((*name).to_owned(), inode.into()))
    });
    let exe = dir.path("exe").and_then(|path| statx(path, c"")).ok();
    Found::json(&Links {
        exe: link("exe"),
        exe_deleted: exe.is_some_and(|found| found.links == 0),
        cwd: link("cwd"),
        root: link("root"),
        namespaces: namespaces.collect(),
    })
}

#[derive(Serialize)]
struct Thread {
    tid: u32,
    comm: Bytes,
    stat: Bytes,
    wchan: Bytes,
    syscall: Bytes,
    stack: Bytes,
}

/// `threads.json`.
pub(super) fn threads(dir: &ProcDir) -> Result<Found<'static>, Miss> {
    let (tids, whole) = dir.numbers("task", THREADS_MAX).map_err(|error| Miss::at("list threads", &error))?;
    let rows: Vec<Thread> = tids
        .iter()
        .map(|tid| {
            let text = |name| {
                let path = format!("task/{tid}/{name}");
                Bytes(
                    dir.text(&path, TEXT_MAX).map(|(text, _)| text.trim_ascii().to_vec()).unwrap_or_default(),
                )
            };
            Thread {
                tid: *tid,
                comm: text("comm"),
                stat: text("stat"),
                wchan: text("wchan"),
                syscall: text("syscall"),
                stack: text("stack"),
            }
        })
        .collect();
    let lack = (!whole).then(|| Miss::partial(format!("more than {THREADS_MAX} threads")));
    Ok(Found::json(&rows)?.lacking(lack))
}
