//! `afterimage bundle tree`.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::super::{Context, Error, Exit};
use super::{Contents, Opened, Which};
use crate::history::tree::Node;
use crate::report;

/// The artifact.
const TREE: &str = "data/process/tree.json";
/// A larger one is not read: it is held in memory.
const TREE_MAX: u64 = 512 << 20;

#[derive(Debug, clap::Args)]
pub struct TreeArgs {
    #[command(flatten)]
    which: Which,
}

/// One process of the tree in a bundle.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Process {
    #[serde(flatten)]
    pub(super) node: Node,
    /// Whether it lived when the tree was taken.
    #[serde(default)]
    pub(super) living: bool,
    /// Whether the trigger meant it.
    #[serde(default)]
    pub(super) target: bool,
}

pub(super) fn run(args: &TreeArgs, context: &Context) -> Result<Exit, Error> {
    let signers = args.which.signers(context)?;
    let bundle = args.which.open(context)?;
    let contents = bundle.contents(&signers)?;
    let processes = read(&bundle, &contents)?
        .ok_or_else(|| Error::failed(format!("{} holds no process tree ({TREE})", bundle.name)))?;
    if context.json {
        context.print_json(&processes)?;
        return Ok(Exit::Done);
    }
    let mut out = context.out();
    print(&processes, context.is_terminal(), &mut out)?;
    out.flush()?;
    Ok(Exit::Done)
}

pub(super) fn print(processes: &[Process], colour: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let remarks: std::collections::HashMap<_, _> =
        processes.iter().map(|process| (process.node.id, words(process))).collect();
    let nodes: Vec<&Node> = processes.iter().map(|process| &process.node).collect();
    let remark = |node: &Node| remarks.get(&node.id).cloned().flatten();
    report::tree::print(&nodes, report::tree::Style { colour }, &remark, out)
}

/// The processes in a bundle, if it has a tree.
pub(super) fn read(bundle: &Opened, contents: &Contents) -> Result<Option<Vec<Process>>, Error> {
    let Some(place) = contents.find(TREE) else { return Ok(None) };
    if place.size > TREE_MAX {
        return Err(Error::failed(format!("the process tree in {} is too large to be shown", bundle.name)));
    }
    let mut text = Vec::new();
    let mut artifact = bundle.artifact(TREE, place)?;
    artifact.read_to_end(&mut text).map_err(|error| bundle.broken(TREE, &error))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::failed(format!("the process tree in {} is not one: {error}", bundle.name)))
}

fn words(process: &Process) -> Option<String> {
    match (process.target, process.living) {
        (true, true) => Some("TARGET, living".to_owned()),
        (true, false) => Some("TARGET".to_owned()),
        (false, true) => Some("living".to_owned()),
        (false, false) => None,
    }
}
