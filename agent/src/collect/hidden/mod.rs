//! What hides: things that one view of them shows and another does not, and things that are not what they seem. One file a
//! kind; each reads two views by turns and compares them in a pure function. docs/hidden.md has the table.

use super::Context;
use super::attempts::Attempts;
use crate::bundle::writer::Error;

mod disguise;
mod entries;
mod ext4;
mod files;
mod finding;
mod flags;
mod groups;
mod marks;
mod modules;
mod mounts;
mod preload;
mod processes;
mod programs;
mod sockets;
mod times;
mod views;

pub(super) use files::DPKG;
pub(super) use finding::{Finding, View};
pub(super) use processes::run as processes;

/// What changes fastest comes first; the files, which give `findings.json`, last.
pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    sockets::run(context, attempts)?;
    disguise::run(context, attempts)?;
    preload::run(context, attempts)?;
    mounts::run(context, attempts)?;
    programs::run(context, attempts)?;
    modules::run(context, attempts)?;
    entries::run(context, attempts)?;
    files::run(context, attempts)
}
