//! `afterimage history`: what was recorded.

mod choice;

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use self::choice::Choice;
use super::{Context, Error, Exit};
use crate::event::{Action, Event, ProcessId};
use crate::history::index::Line;
use crate::history::query::{Library, Place};
use crate::history::tree::{Bounds, Node, Tree};
use crate::ipc::Request;
use crate::report::{line, tree};

/// Shows what the recorder has written down, also when it does not run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  afterimage history --since 90m --tree            what ran, as a tree, with what has exited
  afterimage history --subtree 4711 --tree         a process and all that descends from it
  afterimage history --path /tmp/x --since 3d      the processes that ran this file, and all they did
  afterimage history --path curl --user 33         a name without a slash is one in any folder
  afterimage history --address 203.0.113.45        who spoke with this address
  afterimage history --pid 4711 --json             events for a machine: one ECS object a line
  afterimage history --since 2026-11-20T14:00:00Z --until 2026-11-20T15:00:00Z

Whoever fits all of --pid or --subtree, --path, --address and --user is shown, with all its events between --since and
--until. Whether it fits is looked for in the same time; a lineage is followed beyond it. The files are JSON Lines, for
any other question: zstd -dc /var/lib/afterimage/history/*.jsonl.zst | jq 'select(.[\"process.name\"] == \"sh\")'")]
pub struct HistoryArgs {
    /// Only this process (every process that had this pid).
    #[arg(long)]
    pid: Option<u32>,
    /// This process (every process that had this pid) and all that descend from it.
    #[arg(long, value_name = "PID", conflicts_with = "pid")]
    subtree: Option<u32>,
    /// Only processes that ran this file: a path, or the name of a file in any folder.
    #[arg(long)]
    path: Option<String>,
    /// Only processes that spoke with this IP address.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Only processes that ran a program as this user (number).
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
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

/// How long the births of those that are shown are looked for.
const LINEAGE: Duration = Duration::from_secs(20);

/// Prints what matches.
pub fn run(args: &HistoryArgs, context: &Context) -> Result<Exit, Error> {
    // A recorder that runs is asked to write what it still holds; without one, what is on disk is all there is.
    let mut err = std::io::stderr().lock();
    if let Ok(channel) = super::connect(context)
        && let Err(failure) = super::ask(&channel, &Request::Flush)
    {
        writeln!(err, "note: {failure}; what it has not written yet is not shown")?;
    }
    let folder = context.config.paths.history();
    // Lineage is older than the window.
    let from = if args.tree || args.subtree.is_some() { Timestamp::MIN } else { args.since };
    let library = Library::open(&folder, from).map_err(|failure| {
        Error::failed(format!("{failure}; has `afterimage run` ever run on this host, and are you root?"))
    })?;
    for note in &library.unreadable {
        writeln!(err, "note: {note}")?;
    }
    if library.segments() == 0 && !context.json {
        writeln!(err, "note: the history is empty")?;
    }
    drop(err);
    let window = Window { since: args.since, until: args.until.unwrap_or(Timestamp::MAX) };
    let chosen = Choice { args, library: &library, window }.processes()?;
    if chosen.as_ref().is_some_and(HashSet::is_empty) && !context.json {
        writeln!(std::io::stderr().lock(), "note: no process in the history fits")?;
    }
    if args.tree {
        print_tree(context, &library, window, chosen.as_ref())
    } else {
        print_events(context, &library, window, chosen.as_ref())
    }
}

/// The time that is looked at.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    until: Timestamp,
}

impl Window {
    fn holds(self, time: Timestamp) -> bool {
        (self.since..=self.until).contains(&time)
    }

    /// The frames in it that have events of `chosen`, or all of them.
    fn places(self, library: &Library, chosen: Option<&HashSet<ProcessId>>) -> Vec<Place> {
        let Some(chosen) = chosen else { return library.between(self.since, self.until) };
        let within = |place: &Place| {
            library.span(*place).is_some_and(|(first, last)| last >= self.since && first <= self.until)
        };
        library.of(chosen).into_iter().filter(within).collect()
    }
}

fn print_events(
    context: &Context,
    library: &Library,
    window: Window,
    chosen: Option<&HashSet<ProcessId>>,
) -> Result<Exit, Error> {
    let mut out = context.out();
    let mut boot = None;
    for place in window.places(library, chosen) {
        let mut written = Ok(());
        let mut show = |event: Event| {
            if written.is_ok() {
                written = if context.json {
                    serde_json::to_writer(&mut out, &event)
                        .map_err(std::io::Error::from)
                        .and_then(|()| writeln!(out))
                } else {
                    let other =
                        boot.replace(event.process.boot).is_some_and(|boot| boot != event.process.boot);
                    let begun = if other { writeln!(out, "-- boot {}", event.process.boot) } else { Ok(()) };
                    begun.and_then(|()| writeln!(out, "{}", line::event(&event)))
                };
            }
        };
        let wanted = |line: &Line<'_>| {
            window.holds(line.time) && chosen.is_none_or(|chosen| chosen.contains(&line.process))
        };
        library.read(place, &wanted, &mut show).map_err(Error::failed)?;
        written?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn print_tree(
    context: &Context,
    library: &Library,
    window: Window,
    chosen: Option<&HashSet<ProcessId>>,
) -> Result<Exit, Error> {
    let mut processes = Tree::new(Bounds::COLLECTOR);
    let mut touched = HashSet::new();
    let places = window.places(library, chosen);
    for place in &places {
        let wanted = |line: &Line<'_>| chosen.is_none_or(|chosen| chosen.contains(&line.process));
        let mut take = |event: Event| {
            let own = matches!(event.action, Action::Loss(_) | Action::Gap(_) | Action::Agent(_));
            if window.holds(event.time) && !own {
                touched.insert(event.process);
            }
            processes.apply(&event);
        };
        library.read(*place, &wanted, &mut take).map_err(Error::failed)?;
    }
    // What the window touches is shown with its ancestors, and with its birth, however long ago.
    let parents = library.ancestors(&touched);
    let lines: HashSet<ProcessId> = touched.iter().copied().chain(parents.values().copied()).collect();
    let deadline = Instant::now() + LINEAGE;
    for place in library.born(&lines).into_iter().rev().take_while(|_| Instant::now() < deadline) {
        let wanted = |line: &Line<'_>| lines.contains(&line.process);
        library.read(place, &wanted, &mut |event| processes.apply(&event)).map_err(Error::failed)?;
    }
    let nodes: Vec<&Node> = processes.nodes().filter(|node| lines.contains(&node.id)).collect();
    if context.json {
        context.print_json(&nodes)?;
    } else {
        let mut out = context.out();
        let now = crate::kernel::boot_id(&context.config.paths.proc).ok();
        let remark = |node: &Node| {
            let earlier = now.is_some_and(|boot| boot != node.id.boot) && node.exited.is_none();
            earlier.then(|| "ended with an earlier boot".to_owned())
        };
        tree::print(&nodes, tree::Style { colour: context.is_terminal() }, &remark, &mut out)?;
        out.flush()?;
    }
    Ok(Exit::Done)
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
