//! `afterimage history`: what was recorded.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};

use super::{Context, Error, Exit};
use crate::event::{Action, Event};
use crate::history::segment;
use crate::history::tree::{Bounds, Node, Tree};
use crate::ipc::{Reply, Request};
use crate::report::{line, tree};

/// Shows what the recorder has written down, also when it does not run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  afterimage history --since 90m --tree\n  afterimage history --pid 4711 --json\n  \
                        afterimage history --since 2026-11-20T14:00:00Z --until 2026-11-20T15:00:00Z"
)]
pub struct HistoryArgs {
    /// Only this process (every process that had this pid).
    #[arg(long)]
    pid: Option<u32>,
    /// From then on: a time (2026-11-20T14:00:00Z), or how long ago (90s, 15m, 2h, 3d).
    #[arg(long, value_parser = moment, default_value = "1h")]
    since: Timestamp,
    /// Until then.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// As a process tree, with those that have exited.
    #[arg(long)]
    tree: bool,
}

/// Prints what matches.
pub fn run(args: &HistoryArgs, context: &Context) -> Result<Exit, Error> {
    // A recorder that runs is asked to write what it still holds; without one, what is on disk is all there is.
    if let Ok(channel) = super::connect(context) {
        channel.send(&Request::Flush, &[]).map_err(Error::failed)?;
        channel.recv::<Reply>().map_err(Error::failed)?;
    }
    let segments = segment::list(&context.config.paths.history()).map_err(|failure| {
        Error::failed(format!("{failure}; has `afterimage run` ever run on this host, and are you root?"))
    })?;
    let within =
        |event: &Event| event.time >= args.since && args.until.is_none_or(|until| event.time <= until);
    if args.tree {
        print_tree(args, context, &segments, within)
    } else {
        print_events(args, context, &segments, within)
    }
}

fn print_events(
    args: &HistoryArgs,
    context: &Context,
    segments: &[segment::Segment],
    within: impl Fn(&Event) -> bool,
) -> Result<Exit, Error> {
    let mut out = context.out();
    let mut written = Ok(());
    let mut show = |event: Event| {
        if written.is_ok() && within(&event) && args.pid.is_none_or(|pid| event.process.pid == pid) {
            written = if context.json {
                serde_json::to_writer(&mut out, &event)
                    .map_err(std::io::Error::from)
                    .and_then(|()| writeln!(out))
            } else {
                writeln!(out, "{}", line::event(&event))
            };
        }
    };
    read(context, segment::since(segments, args.since), &mut show)?;
    written?;
    out.flush()?;
    Ok(Exit::Done)
}

fn print_tree(
    args: &HistoryArgs,
    context: &Context,
    segments: &[segment::Segment],
    within: impl Fn(&Event) -> bool,
) -> Result<Exit, Error> {
    let mut processes = Tree::new(Bounds::COLLECTOR);
    let mut touched = std::collections::HashSet::new();
    // Lineage is older than the window: everything is read, and what the window touches is shown with its ancestors.
    read(context, segments, &mut |event| {
        if within(&event) && !matches!(event.action, Action::Loss(_) | Action::Gap(_) | Action::Agent(_)) {
            touched.insert(event.process);
        }
        processes.apply(&event);
    })?;
    let mut shown: std::collections::HashSet<_> = match args.pid {
        Some(pid) => touched.iter().filter(|id| id.pid == pid).flat_map(|id| processes.subtree(id)).collect(),
        None => touched,
    };
    let lines: Vec<_> = shown.iter().flat_map(|id| processes.ancestors(id)).collect();
    shown.extend(lines);
    let nodes: Vec<&Node> = processes.nodes().filter(|node| shown.contains(&node.id)).collect();
    if context.json {
        context.print_json(&nodes)?;
    } else {
        let mut out = context.out();
        tree::print(&nodes, tree::Style { colour: context.is_terminal() }, &|_| None, &mut out)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn read(context: &Context, segments: &[segment::Segment], sink: &mut dyn FnMut(Event)) -> Result<(), Error> {
    for segment in segments {
        let end = segment::read_file(&segment.path, sink).map_err(Error::failed)?;
        if end.torn || end.bad_lines > 0 {
            let mut err = std::io::stderr().lock();
            let words =
                if end.torn { "it ends in the middle of a frame" } else { "some lines are no events" };
            writeln!(err, "note: {}: {words} ({} events read)", segment.path.display(), end.events)?;
        }
    }
    if segments.is_empty() && !context.json {
        writeln!(std::io::stderr().lock(), "note: the history is empty")?;
    }
    Ok(())
}

/// A moment, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let refuse =
        || format!("`{text}` is neither a time (2026-11-20T14:00:00Z) nor a span (90s, 15m, 2h, 3d)");
    let unit = text.chars().last().ok_or_else(refuse)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(refuse()),
    };
    let count: i64 = text.trim_end_matches(unit).parse().map_err(|_| refuse())?;
    let span = count.checked_mul(seconds).map(SignedDuration::from_secs).ok_or_else(refuse)?;
    Timestamp::now().checked_sub(span).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_spans() {
        assert_eq!(moment("2026-11-20T14:00:00Z").unwrap(), "2026-11-20T14:00:00Z".parse().unwrap());
        let ago = Timestamp::now().duration_since(moment("2h").unwrap());
        assert!((7_199..=7_201).contains(&ago.as_secs()), "{ago:?}");
        for text in ["", "h", "5x", "-", "99999999999999999999d", "9223372036854775807d", "ü"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
