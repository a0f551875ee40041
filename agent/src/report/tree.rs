//! Processes as a tree, with those that have exited.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::event::ProcessId;
use crate::history::tree::Node;

use super::line;

/// Deeper processes are shown at this depth: a chain of forks must not push the text off the page.
const DEPTH_MAX: usize = 40;

/// How the tree is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Escape sequences for a terminal: exited processes grey, targets bold.
    pub colour: bool,
}

/// Prints `nodes`, each below its parent; those without one are the roots, oldest first. `remark` says more of a process.
pub fn print(
    nodes: &[&Node],
    style: Style,
    remark: &dyn Fn(&Node) -> Option<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let known: HashMap<ProcessId, &Node> = nodes.iter().map(|node| (node.id, *node)).collect();
    let mut children: HashMap<ProcessId, Vec<&Node>> = HashMap::new();
    let mut roots = Vec::new();
    for node in nodes {
        match node.parent.filter(|parent| known.contains_key(parent) && *parent != node.id) {
            Some(parent) => children.entry(parent).or_default().push(node),
            None => roots.push(*node),
        }
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|node| std::cmp::Reverse((node.seen, node.id)));
    }
    roots.sort_by_key(|node| std::cmp::Reverse((node.seen, node.id)));
    // A list instead of recursion: a hostile history may nest deeper than any stack.
    let mut pending: Vec<(&Node, usize)> = roots.into_iter().map(|node| (node, 0)).collect();
    while let Some((node, depth)) = pending.pop() {
        one(node, depth, style, remark(node), out)?;
        pending.extend(
            children.remove(&node.id).unwrap_or_default().into_iter().map(|child| (child, depth + 1)),
        );
    }
    Ok(())
}

fn one(
    node: &Node,
    depth: usize,
    style: Style,
    remark: Option<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let indent = "  ".repeat(depth.min(DEPTH_MAX));
    let what = node.image().map_or_else(
        || "(never seen to run a program)".to_owned(),
        |image| format!("{}  [{}] uid {}", image.executable, line::command(&image.args), image.uid),
    );
    let end = node.exited.as_ref().map_or_else(String::new, |(time, exit)| {
        let life = if node.born { format!(" after {}", span(*time - node.seen)) } else { String::new() };
        format!("  {}, {}{life}", line::time(*time), line::ending(exit.code, exit.signal))
    });
    let remark = remark.map_or_else(String::new, |remark| format!("  <- {remark}"));
    let text = format!("{indent}{}  {what}  {}{end}{remark}", node.id.pid, line::time(node.seen));
    if style.colour && node.exited.is_some() {
        writeln!(out, "\x1b[90m{text}\x1b[0m")
    } else {
        writeln!(out, "{text}")
    }
}

/// A length of time that a person reads at a glance.
fn span(duration: jiff::SignedDuration) -> String {
    match duration.as_micros() {
        micros @ ..1_000 => format!("{micros} us"),
        micros @ ..10_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{} s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, BootId, Event, Exit, Fork, Source};
    use crate::history::tree::{Bounds, Tree};
    use crate::text::Bytes;

    fn id(pid: u32) -> ProcessId {
        ProcessId { boot: BootId([0; 16]), pid, start: 1 }
    }

    fn event(micros: i64, pid: u32, action: Action) -> Event {
        let time = jiff::Timestamp::from_microsecond(micros).unwrap();
        Event { time, source: Source::Scan, process: id(pid), action }
    }

    fn fork(micros: i64, parent: u32, pid: u32) -> Event {
        event(micros, pid, Action::Fork(Fork { parent: Some(id(parent)), name: Bytes::default() }))
    }

    fn printed(events: &[Event]) -> String {
        let mut tree = Tree::new(Bounds::COLLECTOR);
        for event in events {
            tree.apply(event);
        }
        let nodes: Vec<&Node> = tree.nodes().collect();
        let mut out = Vec::new();
        print(&nodes, Style::default(), &|node| (node.id.pid == 3).then(|| "target".to_owned()), &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn children_stand_below_their_parent_in_the_order_of_their_birth_with_their_end() {
        let exit = event(1_700, 3, Action::Exit(Exit { code: 7, signal: 0 }));
        let text = printed(&[fork(1, 9, 2), fork(900, 2, 3), fork(800, 2, 4), exit]);
        let pids: Vec<&str> = text.lines().map(|line| line.split("  (").next().unwrap()).collect();
        assert_eq!(pids, ["2", "  4", "  3"]);
        assert!(text.contains("exit code 7 after 800 us  <- target"), "{text}");
    }

    #[test]
    fn a_chain_of_ten_thousand_forks_is_printed_whole() {
        let events: Vec<Event> = (1..10_000).map(|n| fork(i64::from(n), n, n + 1)).collect();
        assert_eq!(printed(&events).lines().count(), 9_999);
    }
}
