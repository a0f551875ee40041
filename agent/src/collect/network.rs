//! Sockets with their owners and who is at their other end, queues, interfaces, routes, rules, neighbours and the packet filter, of each
//! network namespace that somebody in view lives in, and of the agent's own.

use std::collections::HashSet;
use std::time::Instant;

use serde::Serialize;

use super::Context;
use super::around::View;
use super::attempts::{Attempts, Found, Miss};
use super::netlink::{Doors, Dump, dump};
use super::sockets::{LIST_MAX, Socket, of_text};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::netlink::{nftables, route};
use crate::plan::around::{Around, Holder, Object};
use crate::text::Bytes;

/// Copied from `/proc/PID/net`, as they are.
const TEXTS: &[&str] = &[
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "raw",
    "raw6",
    "icmp",
    "icmp6",
    "unix",
    "packet",
    "netlink",
    "route",
    "ipv6_route",
    "arp",
    "dev",
    "if_inet6",
    "fib_trie",
    "igmp",
    "sockstat",
    "snmp",
    "ptype",
];

/// Bytes of one answer.
const MOST: usize = 16 << 20;

/// Somebody who has a socket open.
#[derive(Debug, Serialize)]
struct Owner<'a> {
    #[serde(flatten)]
    holder: Holder,
    pid: u32,
    name: Option<&'a Bytes>,
    executable: Option<&'a Bytes>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    namespace: u32,
    #[serde(flatten)]
    socket: &'a Socket,
    /// Whether only a file of /proc showed it, and the kernel's list, made a moment before, did not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    only_in_proc: bool,
    owners: Vec<Owner<'a>>,
    /// Who holds the other end, where that is on this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Owner<'a>>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let look = std::mem::take(&mut context.look);
    let each = TEXTS.len().saturating_add((route::KINDS.len() + nftables::KINDS.len()) * 2);
    attempts.expect(look.namespaces.len().saturating_mul(each).saturating_add(1));
    let mut unlisted: Vec<(u32, Socket)> = Vec::new();
    for (namespace, view) in &look.namespaces {
        texts(*namespace, view, &mut unlisted, attempts)?;
        answers(*namespace, view, attempts)?;
        for (name, became) in &view.sockets.lists {
            if let Err(miss) = became {
                attempts.miss(format!("net:[{namespace}] {name} by netlink"), miss.clone())?;
            }
        }
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (namespace, view) in &look.namespaces {
        let sockets = view.sockets.all.iter().enumerate();
        rows.extend(
            sockets.map(|(at, socket)| row(&look.around, *namespace, socket, at >= view.sockets.listed)),
        );
    }
    rows.extend(unlisted.iter().map(|(namespace, socket)| row(&look.around, *namespace, socket, true)));
    attempts.take("sockets", &Name::data(&["network", "sockets.json"]), |_| {
        let lack = (!look.lacks.is_empty()).then(|| Miss::partial(look.lacks.join("; ")));
        Ok(Found::json(&rows)?.lacking(lack))
    })?;
    drop(rows);
    context.look = look;
    Ok(())
}

/// The files of /proc as they are, and what sockets only these show.
fn texts(
    namespace: u32,
    view: &View,
    unlisted: &mut Vec<(u32, Socket)>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let known: HashSet<u64> = view.sockets.all.iter().map(|socket| socket.inode).collect();
    for text in TEXTS {
        let name = Name::data(&["network", &namespace.to_string(), text]);
        attempts.take(format!("net:[{namespace}] {text}"), &name, |_| {
            let read = view.dir.text(&format!("net/{text}"), LIST_MAX);
            view.dir.is_there()?;
            let (bytes, lack) = read.map_err(|miss| view.dir.missed(miss))?;
            let sockets = of_text(text, &bytes).into_iter();
            unlisted.extend(
                sockets
                    .filter(|socket| socket.inode != 0 && !known.contains(&socket.inode))
                    .map(|socket| (namespace, socket)),
            );
            Ok(Found::bytes(bytes).lacking(lack))
        })?;
    }
    Ok(())
}

/// Interfaces, addresses, routes, rules and neighbours, and the packet filter: the kernel's answer as it is, and as JSON.
fn answers(namespace: u32, view: &View, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    for kind in route::KINDS {
        let ask = |doors: &Doors, deadline| dump(&doors.route, &kind.request(), MOST, deadline);
        answer(namespace, view, kind.name, &ask, &|bytes| Found::json(&kind.rows(bytes)), attempts)?;
    }
    for kind in nftables::KINDS {
        let ask = |doors: &Doors, deadline| {
            let door = doors.filter.as_ref().map_err(Miss::refused)?;
            dump(door, &kind.request(), MOST, deadline)
        };
        answer(namespace, view, kind.name, &ask, &|bytes| Found::json(&kind.rows(bytes)), attempts)?;
    }
    Ok(())
}

fn answer(
    namespace: u32,
    view: &View,
    what: &str,
    ask: &dyn Fn(&Doors, Instant) -> Result<Dump, Miss>,
    json: &dyn Fn(&[u8]) -> Result<Found<'static>, Miss>,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let label = namespace.to_string();
    let subject = format!("net:[{namespace}] {what}");
    let mut readable = None;
    let raw = Name::data(&["network", &label, &format!("{what}.netlink")]);
    attempts.take(subject.clone(), &raw, |room| {
        let answer = ask(view.doors.as_ref().map_err(Miss::refused)?, room.deadline)?;
        readable = Some(json(&answer.bytes)?);
        Ok(Found::bytes(answer.bytes).lacking(answer.lack))
    })?;
    if let Some(found) = readable {
        let name = Name::data(&["network", &label, &format!("{what}.json")]);
        attempts.take(format!("{subject} as JSON"), &name, |_| Ok(found))?;
    }
    Ok(())
}

fn row<'a>(around: &'a Around, namespace: u32, socket: &'a Socket, only_in_proc: bool) -> Row<'a> {
    Row {
        namespace,
        only_in_proc,
        owners: owners(around, Object::Socket(socket.inode)),
        peers: peers(around, socket.inode),
        socket,
    }
}

fn owners(around: &Around, object: Object) -> Vec<Owner<'_>> {
    let holders = around.holders.get(&object).map_or(&[][..], Vec::as_slice);
    holders.iter().map(|holder| owner(around, *holder)).collect()
}

fn peers(around: &Around, inode: u64) -> Vec<Owner<'_>> {
    around.other_ends(Object::Socket(inode)).map(|holder| owner(around, holder)).collect()
}

fn owner(around: &Around, holder: Holder) -> Owner<'_> {
    let standing = around.standings.get(&holder.process);
    Owner {
        pid: holder.process.pid,
        name: standing.map(|standing| &standing.name),
        executable: standing.map(|standing| &standing.executable),
        holder,
    }
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
