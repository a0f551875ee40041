//! Living and exited processes with their lineage, as one JSON array.

use std::collections::HashMap;

use serde::Serialize;

use super::Context;
use super::attempts::{Attempts, Found};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::event::ProcessId;
use crate::history::tree::Node;
use crate::plan::Why;

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    node: &'a Node,
    living: bool,
    target: bool,
    scope: Option<Why>,
}

pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let scope: HashMap<ProcessId, Why> = context.plan.scope.iter().map(|one| (one.id, one.why)).collect();
    let mut rows: Vec<Row<'_>> = context
        .tree
        .nodes()
        .map(|node| Row {
            node,
            living: node.lives_in(context.job.facts.boot),
            target: context.targets.contains(&node.id),
            scope: scope.get(&node.id).copied(),
        })
        .collect();
    rows.sort_by_key(|row| (row.node.seen, row.node.id));
    let forgotten = context.tree.forgotten();
    attempts.take("tree", &Name::data(&["process", "tree.json"]), |_| {
        let found = Found::json(&rows)?;
        Ok(match forgotten {
            0 => found,
            count => found.noting(format!("{count} exited processes had to be forgotten before")),
        })
    })?;
    Ok(())
}
