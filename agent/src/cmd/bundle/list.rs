//! `afterimage bundle list`.

use std::io::Write;

use super::super::{Context, Error, Exit};
use crate::report::line;
use crate::store::{State, Store};

#[derive(Debug, clap::Args)]
pub struct ListArgs {}

pub(super) fn run(_: &ListArgs, context: &Context) -> Result<Exit, Error> {
    let store = Store::existing(&context.config.paths.bundles()).map_err(|error| {
        Error::failed(format!("{error}. Has anything been captured on this host yet, and are you root?"))
    })?;
    let entries = store.list().map_err(Error::failed)?;
    if context.json {
        context.print_json(&entries)?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    for entry in &entries {
        let state = match entry.state {
            State::Sealed => "",
            State::InTheMaking => "  in the making",
        };
        let (time, bytes) = (line::time(entry.modified), super::size(entry.bytes));
        writeln!(out, "{}  {time}  {bytes:>10}{state}", entry.id)?;
    }
    if entries.is_empty() {
        writeln!(out, "no bundles in {}", super::shown(store.path()))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
