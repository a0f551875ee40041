//! `data/log/peers.jsonl`: lines of web servers' access logs with the addresses of those who spoke to the targets.

use std::collections::{BTreeSet, HashSet};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::time::Instant;

use serde::Serialize;

use super::list;
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::collect::Context;
use crate::collect::attempts::{Attempts, Found, Miss};
use crate::collect::file::{regular, reopen};
use crate::collect::packages::lines;
use crate::collect::walk::Walker;
use crate::history::tree::FlowKind;
use crate::log::access::peer;
use crate::plan::Why;
use crate::text::{Bytes, escape};

/// Addresses that are looked for.
const PEERS_MAX: usize = 10_000;
/// Bytes of the table: its lines are written by whoever asks, and escaped they grow.
const TABLE_MAX: usize = 32 << 20;
/// Files, bytes of each of them (the end), and lines of the table with their length.
const FILES_MAX: usize = 200;
const BYTES_MAX: u64 = 64 << 20;
const LINES_MAX: usize = 20_000;
const LINE_MAX: usize = 8 << 10;

#[derive(Serialize)]
struct Row<'a> {
    peer: IpAddr,
    file: &'a Bytes,
    text: Bytes,
}

pub(super) fn run(
    context: &Context<'_>,
    walker: &mut Walker,
    attempts: &mut Attempts<'_>,
) -> Result<(), Error> {
    let peers = peers(context);
    if peers.is_empty() {
        return Ok(());
    }
    let mut logs = Vec::new();
    list(b"/var/log", walker, &mut logs);
    logs.retain(|log| is_access_log(&log.path));
    logs.sort_by_key(|log| std::cmp::Reverse(log.modified));
    if logs.is_empty() {
        return Ok(());
    }
    let mut lacks = Vec::new();
    if logs.len() > FILES_MAX {
        lacks.push(format!("{} older files were not read", logs.len() - FILES_MAX));
        logs.truncate(FILES_MAX);
    }
    let mut table = Vec::new();
    let mut count = 0;
    for log in &logs {
        if Instant::now() >= walker.until || table.len() >= TABLE_MAX {
            lacks.push(format!("{} and older files: no room or time for them", escape(&log.path)));
            break;
        }
        match read(&log.path, walker, &peers, LINES_MAX.saturating_sub(count)) {
            Ok((found, lines, lack)) => {
                table.extend(found);
                count += lines;
                lacks.extend(lack);
            }
            Err(miss) => lacks.push(format!("{}: {}", escape(&log.path), miss.detail)),
        }
    }
    attempts.take(
        "what peers of the targets asked web servers",
        &Name::data(&["log", "peers.jsonl"]),
        |_| {
            lacks.truncate(32);
            let lack = (!lacks.is_empty()).then(|| Miss::partial(lacks.join("; ")));
            let note =
                format!("{count} lines with one of {} addresses, in {} files", peers.len(), logs.len());
            Ok(Found::bytes(table).lacking(lack).noting(note))
        },
    )?;
    Ok(())
}

/// Who connected to a target, or to what descends from it or begot it, or to a service it belongs to; and whom the
/// trigger names.
fn peers(context: &Context<'_>) -> HashSet<IpAddr> {
    let near = context.plan.scope.iter().filter(|one| one.why != Why::Host);
    let flows = near.filter_map(|one| context.tree.get(&one.id)).flat_map(|node| &node.flows);
    let inbound = flows.filter(|(_, kind, _)| *kind == FlowKind::Accept).map(|(_, _, flow)| flow.remote.ip());
    let named = context.job.trigger.target.remote_ip;
    let all: BTreeSet<IpAddr> = inbound.chain(named).map(|address| address.to_canonical()).collect();
    all.into_iter().filter(|address| !address.is_unspecified()).take(PEERS_MAX).collect()
}

/// Whether a name is that of an access log which is not packed.
fn is_access_log(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_packed = [&b".gz"[..], b".xz", b".bz2", b".zst"].iter().any(|end| name.ends_with(end));
    let is_access = name.windows(6).any(|part| part == b"access") || name.starts_with(b"haproxy");
    is_access && !is_packed
}

type Lines = (Vec<u8>, usize, Option<String>);

/// The lines of a file's end.
fn read(path: &[u8], walker: &Walker, peers: &HashSet<IpAddr>, most: usize) -> Result<Lines, Miss> {
    let entry = walker.find(path)?;
    let size = regular(&entry.fd, &walker.remote)?.size;
    let mut file = reopen(&entry.fd)?;
    let over = size.saturating_sub(BYTES_MAX);
    file.seek(SeekFrom::Start(over)).map_err(|error| Miss::at("seek", &error))?;
    let (mut source, name) = (BufReader::new(file.take(size.min(BYTES_MAX))), Bytes::from(path));
    let (mut table, mut count) = (Vec::new(), 0);
    let mut lack = (over > 0).then(|| format!("{}: the last {BYTES_MAX} bytes", escape(path)));
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        let read = (&mut source).take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| Miss::at("read", &error))? == 0 {
            break;
        }
        if Instant::now() >= walker.until {
            lack = Some(format!("{}: there was no time for all of it", escape(path)));
            break;
        }
        let Some(peer) = peer(&line, peers) else { continue };
        if count >= most || table.len() >= TABLE_MAX {
            lack = Some(format!("{}: more lines than there was room for", escape(path)));
            break;
        }
        count += 1;
        let text = Bytes::from(line.trim_ascii_end());
        table.extend(lines(std::iter::once(Row { peer, file: &name, text }))?);
    }
    Ok((table, count, lack))
}
