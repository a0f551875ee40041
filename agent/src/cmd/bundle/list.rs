//! `afterimage bundle list`.

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::super::{Context, Error, Exit};
use crate::bundle::reader;
use crate::bundle::signers::Signers;
use crate::report::line;
use crate::store::{Entry, State, Store};
use crate::text;

/// All bundles.
#[derive(Debug, clap::Args)]
pub struct ListArgs {}

/// One bundle, and what it says of itself; nothing of that is verified here.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    entry: Entry,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    /// Why it does not speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

pub(super) fn run(_: &ListArgs, context: &Context) -> Result<Exit, Error> {
    let store = Store::existing(&context.config.paths.bundles()).map_err(|error| {
        Error::failed(format!("{error}. Has anything been captured on this host yet, and are you root?"))
    })?;
    let entries = store.list().map_err(Error::failed)?;
    let rows: Vec<Row> = entries.into_iter().map(|entry| row(&store, entry)).collect();
    if context.json {
        context.print_json(&rows)?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    for row in &rows {
        writeln!(out, "{}", shown(row))?;
    }
    if rows.is_empty() {
        writeln!(out, "no bundles in {}", super::shown(store.path()))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn row(store: &Store, entry: Entry) -> Row {
    let mut row = Row { entry, sender: None, rule: None, complete: None, fault: None };
    if row.entry.state != State::Sealed {
        return row;
    }
    let account = store.open_sealed(row.entry.id).map_err(|error| error.to_string()).and_then(|file| {
        reader::account(&file, &Signers::default(), Timestamp::now()).map_err(|fault| fault.to_string())
    });
    match account {
        Ok((capture, _)) => {
            row.sender = Some(capture.trigger.sender);
            row.rule = Some(capture.trigger.rule);
            row.complete = Some(capture.complete);
        }
        Err(fault) => row.fault = Some(fault),
    }
    row
}

fn shown(row: &Row) -> String {
    let Entry { id, state, bytes, modified } = &row.entry;
    let words = match (state, &row.fault, &row.rule) {
        (State::InTheMaking, ..) => "in the making".to_owned(),
        (_, Some(fault), _) => format!("DAMAGED: {}", text::escape(fault.as_bytes())),
        (_, None, rule) => {
            let said =
                format!("{}: {}", row.sender.as_deref().unwrap_or("?"), rule.as_deref().unwrap_or("?"));
            let complete = if row.complete == Some(false) { "  NOT COMPLETE" } else { "" };
            format!("{}{complete}", text::escape(said.as_bytes()))
        }
    };
    format!("{id}  {}  {:>10}  {words}", line::time(*modified), super::size(*bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bundle::test::Lab;

    #[test]
    fn each_bundle_says_why_it_was_made_and_a_damaged_one_that_it_is() {
        let lab = Lab::new();
        let (path, sealed) = lab.bundle();
        let store = Store::existing(lab.path()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let cut = lab.path().join("0193aaaa-0000-7000-8000-000000000001.tar.zst");
        crate::bundle::test::write(&cut, bytes.split_at(bytes.len() - 50).0);
        let rows: Vec<String> =
            store.list().unwrap().into_iter().map(|entry| shown(&row(&store, entry))).collect();
        assert!(rows[0].contains("DAMAGED: the file ends early"), "{rows:?}");
        assert!(
            rows[1].starts_with(&sealed.id.to_string()) && rows[1].ends_with("person: a test"),
            "{rows:?}"
        );
    }
}
