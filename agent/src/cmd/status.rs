//! `afterimage status`: how the recorder does.

use std::io::Write;

use serde_json::Value;

use super::{Context, Error, Exit};
use crate::ipc::{Reply, Request};
use crate::report::line;

/// Gaps and losses that are shown.
const GAPS_SHOWN: usize = 5;

/// Shows how the recorder does: sight, losses, captures, door.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

/// Asks the recorder and prints its answer.
pub fn run(_: &StatusArgs, context: &Context) -> Result<Exit, Error> {
    let channel = super::connect(context)?;
    let Some(Reply::Status(status)) = super::ask(&channel, &Request::Status)? else {
        return Err(Error::failed("the recorder gave no status"));
    };
    if context.json {
        context.print_json(&status)?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) if !value.is_null() => value.to_string(),
        _ => "-".to_owned(),
    };
    writeln!(
        out,
        "recorder   {} since {} on {} ({})",
        text("/version"),
        text("/started"),
        text("/host"),
        text("/kernel")
    )?;
    writeln!(out, "sight      {}", text("/sight"))?;
    writeln!(
        out,
        "events     {} kept, {} lost in the kernel, {} lost at the disk",
        text("/counts/recorder/events"),
        text("/counts/kernel/lost"),
        text("/counts/recorder/history_lost"),
    )?;
    writeln!(
        out,
        "stash      {} executables kept, {} left out on purpose, {} missed",
        text("/counts/recorder/stashed"),
        text("/counts/recorder/stash_skipped"),
        text("/counts/recorder/stash_missed")
    )?;
    writeln!(out, "gate       {}", text("/gate/words"))?;
    writeln!(out, "places     {}", text("/places/words"))?;
    let told = status.pointer("/gaps").and_then(Value::as_array);
    writeln!(out, "gaps       {} gaps and losses since the start", told.map_or(0, Vec::len))?;
    // The last ones, in full: whoever looks wants to know whether it is blind now.
    let told = told.map_or(&[][..], Vec::as_slice);
    for event in told.get(told.len().saturating_sub(GAPS_SHOWN)..).unwrap_or_default() {
        if let Ok(event) = serde_json::from_value(event.clone()) {
            writeln!(out, "           {}", line::event(&event))?;
        }
    }
    writeln!(out, "processes  {} in memory", text("/processes"))?;
    writeln!(out, "captures   {} running, {} waiting", text("/captures/running"), text("/captures/waiting"))?;
    writeln!(out, "door       {} (pid {})", text("/door/listen"), text("/door/pid"))?;
    out.flush()?;
    Ok(Exit::Done)
}
