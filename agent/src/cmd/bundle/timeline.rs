//! `afterimage bundle timeline`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;

use super::super::{Context, Error, Exit};
use super::{Contents, Opened, Which};
use crate::bundle::Capture;
use crate::event::Event;
use crate::history::segment;
use crate::report::line;
use crate::text;

/// Events that are held back until it is sure that no earlier one follows. Processors hand theirs in some
/// milliseconds apart; a segment is in order but for that.
const HELD_MAX: usize = 50_000;

#[derive(Debug, clap::Args)]
pub struct TimelineArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &TimelineArgs, context: &Context) -> Result<Exit, Error> {
    let signers = args.which.signers(context)?;
    let bundle = args.which.open(context)?;
    let contents = bundle.contents(&signers)?;
    let mut out = context.out();
    lines(&bundle, &contents, context.json, &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Prints the events in order, and the trigger between them.
pub(super) fn lines(
    bundle: &Opened,
    contents: &Contents,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let capture = contents.account.as_ref().map(|(capture, _)| capture);
    let mut order = Order { held: BTreeMap::new(), number: 0, trigger: capture.map(mark) };
    let mut written = Ok(());
    let mut print = |item: Item| {
        if written.is_ok() {
            written = print(&item, json, out);
        }
    };
    events(bundle, contents, &mut |event| order.push(event, &mut print))?;
    order.finish(&mut print);
    Ok(written?)
}

/// All events in the bundle's history, nearly in order.
pub(super) fn events(bundle: &Opened, contents: &Contents, sink: &mut dyn FnMut(Event)) -> Result<(), Error> {
    let is_segment = |name: &str| name.starts_with("data/history/") && name.ends_with(".jsonl.zst");
    // Their names are their times.
    let mut segments: Vec<_> = contents.artifacts.iter().filter(|(name, _)| is_segment(name)).collect();
    segments.sort_by_key(|(name, _)| name);
    for (name, place) in segments {
        let mut artifact = bundle.artifact(name, place)?;
        let end = segment::read(&mut artifact, sink);
        artifact.check().map_err(|error| bundle.broken(name, &error))?;
        let end =
            end.map_err(|error| Error::failed(format!("cannot read {name} in {}: {error}", bundle.name)))?;
        if end.bad_lines > 0 {
            super::remark(&format!("{name}: {} lines are no events", end.bad_lines));
        }
    }
    Ok(())
}

/// The trigger as a line of the timeline.
struct Mark {
    time: Timestamp,
    words: String,
}

fn mark(capture: &Capture) -> Mark {
    let trigger = &capture.trigger;
    let words = format!("{}: {}", trigger.sender, trigger.rule);
    Mark { time: capture.accepted, words: text::escape(words.as_bytes()) }
}

enum Item {
    Event(Box<Event>),
    Trigger(Mark),
}

/// Brings events that are nearly in order into order, in bounded memory.
struct Order {
    held: BTreeMap<(Timestamp, u64), Event>,
    number: u64,
    trigger: Option<Mark>,
}

impl Order {
    fn push(&mut self, event: Event, print: &mut dyn FnMut(Item)) {
        self.held.insert((event.time, self.number), event);
        self.number = self.number.saturating_add(1);
        if self.held.len() > HELD_MAX {
            self.pop(print);
        }
    }

    fn pop(&mut self, print: &mut dyn FnMut(Item)) -> bool {
        let Some((_, event)) = self.held.pop_first() else { return false };
        if let Some(mark) = self.trigger.take_if(|mark| mark.time < event.time) {
            print(Item::Trigger(mark));
        }
        print(Item::Event(Box::new(event)));
        true
    }

    fn finish(mut self, print: &mut dyn FnMut(Item)) {
        while self.pop(print) {}
        if let Some(mark) = self.trigger.take() {
            print(Item::Trigger(mark));
        }
    }
}

fn print(item: &Item, json: bool, out: &mut dyn Write) -> io::Result<()> {
    match item {
        Item::Event(event) if json => {
            serde_json::to_writer(&mut *out, event)?;
            writeln!(out)
        }
        Item::Event(event) => writeln!(out, "{}", line::event(event)),
        Item::Trigger(mark) if json => {
            let value = serde_json::json!({
                "@timestamp": mark.time, "event.action": "trigger", "message": mark.words,
            });
            serde_json::to_writer(&mut *out, &value)?;
            writeln!(out)
        }
        Item::Trigger(mark) => writeln!(out, "{}  >>>>>>>>  TRIGGER  {}", line::time(mark.time), mark.words),
    }
}
