//! Sockets: the kernel's answer by netlink against the files of /proc/net, in each network namespace in view. A socket's
//! name is its inode number, which is not given again soon. What nobody holds any more has none, and is not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::Context;
use super::super::around::View;
use super::super::attempts::Attempts;
use super::super::netlink::dump;
use super::super::sockets::{LIST_MAX, Socket, describe, of_text};
use super::finding::{Finding, Report, take};
use super::views::missing;
use crate::bundle::writer::Error;
use crate::netlink::diag::{KINDS, Kind};
use crate::proc::packet_sockets;

/// What has a file in /proc/net that lists the same as netlink does.
const COMPARED: [&str; 8] = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "packet"];

const NOT_IN_PROC: &str =
    "the kernel's answer by netlink has this socket, and its file in /proc/net does not";
const NOT_IN_NETLINK: &str =
    "a file in /proc/net has this socket, and the kernel's answer by netlink does not";

/// One look at a list: inode numbers, and how each socket is described.
type List = BTreeMap<u64, String>;

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let namespaces = &context.look.namespaces;
    take(&mut context.noted, attempts, ("sockets that are not shown everywhere", "sockets"), |room| {
        let mut report = Report::default();
        for (namespace, view) in namespaces {
            for kind in KINDS.iter().filter(|kind| COMPARED.contains(&kind.name)) {
                if Instant::now() >= room.deadline {
                    report.lack("the capture's deadline passed".to_owned());
                    break;
                }
                // A kind that is not listed in one of the two ways cannot be compared; the network's collection says why.
                let listing = Listing { view, kind, deadline: room.deadline };
                if let Some((count, findings)) = listing.compare(*namespace) {
                    report.compared(kind.name, count);
                    report.extend(findings);
                }
            }
        }
        Ok(report)
    })
}

/// One kind of one namespace.
struct Listing<'a> {
    view: &'a View,
    kind: &'a Kind,
    deadline: Instant,
}

impl Listing<'_> {
    fn compare(&self, namespace: u32) -> Option<(usize, Vec<Finding>)> {
        let (mut asked, mut read) = (vec![self.ask()?], vec![self.read()?]);
        asked.push(self.ask()?);
        // Most often all is as it should be, and no further look is needed.
        if !agree(&asked, &read) {
            read.push(self.read()?);
            asked.push(self.ask()?);
            read.push(self.read()?);
        }
        let findings = disagreements(&asked, &read).into_iter();
        let object = |inode| format!("socket:[{inode}]").into_bytes();
        let found = findings.map(|(inode, reason, described)| {
            let absent = "not listed, in two looks";
            let (netlink, proc) = if reason == NOT_IN_PROC {
                (described.as_str(), absent)
            } else {
                (absent, described.as_str())
            };
            Finding::new(object(inode).as_slice(), reason)
                .view(format!("netlink, net:[{namespace}]"), netlink)
                .view(format!("/proc/net/{}", self.kind.name), proc)
        });
        Some((asked.first()?.len(), found.collect()))
    }

    fn ask(&self) -> Option<List> {
        let doors = self.view.doors.as_ref().ok()?;
        let most = usize::try_from(LIST_MAX).ok()?;
        let answer = dump(&doors.diag, &self.kind.request(), most, self.deadline).ok()?;
        answer.lack.is_none().then(|| list(&self.kind.sockets(&answer.bytes)))
    }

    fn read(&self) -> Option<List> {
        let (text, lack) = self.view.dir.text(&format!("net/{}", self.kind.name), LIST_MAX).ok()?;
        self.view.dir.is_there().ok()?;
        let found = match self.kind.name {
            "packet" => packet_sockets(&text).into_iter().map(|inode| (inode, "packet".to_owned())).collect(),
            name => list(&of_text(name, &text)),
        };
        lack.is_none().then_some(found)
    }
}

/// What both ways list: held by somebody, and in a state that both show. (Netlink also lists TCP sockets that are bound and do
/// nothing.)
fn list(sockets: &[Socket]) -> List {
    let both = |socket: &&Socket| {
        let idle = socket.protocol.starts_with("tcp") && matches!(socket.state, "CLOSE" | "UNKNOWN");
        socket.inode != 0 && !idle
    };
    sockets.iter().filter(both).map(|socket| (socket.inode, describe(socket))).collect()
}

fn keys(lists: &[List]) -> Vec<BTreeSet<u64>> {
    lists.iter().map(|list| list.keys().copied().collect()).collect()
}

/// Whether a first look (netlink, /proc, netlink) gives no reason for another.
fn agree(asked: &[List], read: &[List]) -> bool {
    let (asked, read) = (keys(asked), keys(read));
    let (asked, read): (Vec<_>, Vec<_>) = (asked.iter().collect(), read.iter().collect());
    missing(&asked, &read).is_empty() && missing(&read, &asked).is_empty()
}

/// Sockets that were in every list of one kind and in none of the other's, though these were read in between: netlink, /proc,
/// netlink, /proc, netlink, /proc. With fewer looks nothing is said.
fn disagreements(asked: &[List], read: &[List]) -> Vec<(u64, &'static str, String)> {
    let (asked_keys, read_keys) = (keys(asked), keys(read));
    let ([first, second, third], [fourth, fifth, sixth]) = (&*asked_keys, &*read_keys) else {
        return Vec::new();
    };
    let described = |lists: &[List], inode: u64| {
        lists.iter().find_map(|list| list.get(&inode)).cloned().unwrap_or_default()
    };
    // One that began after the first list of /proc, and ended before the last, is in no list of that.
    let hidden = missing(&[first, second, third], &[fourth, fifth, sixth]);
    let unanswered = missing(&[fourth, fifth, sixth], &[first, second, third]);
    let hidden = hidden.into_iter().map(|inode| (inode, NOT_IN_PROC, described(asked, inode)));
    let unanswered = unanswered.into_iter().map(|inode| (inode, NOT_IN_NETLINK, described(read, inode)));
    hidden.chain(unanswered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(of: [&[u64]; 3]) -> Vec<List> {
        of.iter().map(|list| list.iter().map(|inode| (*inode, format!("tcp {inode}"))).collect()).collect()
    }

    #[test]
    fn a_socket_that_one_way_never_lists_is_found() {
        let all = lists([&[1, 7], &[1, 7], &[1, 7]]);
        let less = lists([&[1], &[1], &[1]]);
        assert_eq!(disagreements(&all, &less), [(7, NOT_IN_PROC, "tcp 7".to_owned())]);
        assert_eq!(disagreements(&less, &all), [(7, NOT_IN_NETLINK, "tcp 7".to_owned())]);
        assert!(!agree(&all, &less));
    }

    #[test]
    fn sockets_that_come_and_go_are_no_findings() {
        for (asked, read) in [
            ([&[7][..], &[7], &[]], [&[][..], &[], &[]]),
            ([&[], &[7], &[7]], [&[], &[], &[]]),
            ([&[7], &[], &[7]], [&[], &[], &[]]),
            ([&[7], &[7], &[7]], [&[], &[7], &[]]),
            ([&[7], &[7], &[7]], [&[7], &[7], &[7]]),
            ([&[], &[], &[]], [&[7], &[7], &[]]),
            ([&[], &[], &[7]], [&[7], &[7], &[7]]),
            ([&[], &[], &[]], [&[], &[], &[]]),
        ] {
            assert_eq!(disagreements(&lists(asked), &lists(read)), [], "{asked:?} {read:?}");
        }
        let all = lists([&[1], &[1], &[1]]);
        assert!(agree(&all, &all));
        assert_eq!(disagreements(&all[..2], &lists([&[], &[], &[]])[..1]), []);
    }

    #[test]
    fn what_only_one_way_lists_by_design_is_not_compared() {
        let socket = |protocol, state, inode| Socket { protocol, state, inode, ..Socket::default() };
        let sockets = [
            socket("tcp", "CLOSE", 1),
            socket("tcp6", "UNKNOWN", 2),
            socket("tcp", "TIME_WAIT", 0),
            socket("udp", "CLOSE", 3),
            socket("tcp", "LISTEN", 4),
            socket("unix stream", "UNCONNECTED", 5),
        ];
        assert_eq!(list(&sockets).into_keys().collect::<Vec<_>>(), [3, 4, 5]);
    }
}
