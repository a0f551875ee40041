//! `afterimage watch`: events as they happen.

use std::io::Write;

use super::{Context, Error, Exit};
use crate::ipc::{Reply, Request};
use crate::report::line;

/// Shows events as they happen, until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  afterimage watch\n  afterimage watch --json | jq 'select(.\"event.action\"==\"connect\")'"
)]
pub struct WatchArgs {}

/// Prints until the recorder or the reader goes.
pub fn run(_: &WatchArgs, context: &Context) -> Result<Exit, Error> {
    let channel = super::connect(context)?;
    channel.send(&Request::Watch, &[]).map_err(Error::failed)?;
    let mut out = context.out();
    while let Some((reply, _)) = channel.recv::<Reply>().map_err(Error::failed)? {
        match reply {
            Reply::Event(event) if context.json => {
                serde_json::to_writer(&mut out, &event).map_err(std::io::Error::from)?;
                writeln!(out)?;
            }
            Reply::Event(event) => writeln!(out, "{}", line::event(&event))?,
            Reply::Missed { events } if context.json => writeln!(out, "{{\"afterimage.missed\":{events}}}")?,
            Reply::Missed { events } => {
                writeln!(out, "-- {events} events not shown: this reader is too slow")?;
            }
            _ => {}
        }
        out.flush()?;
    }
    Err(Error::failed("the recorder has ended"))
}
