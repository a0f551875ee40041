//! `afterimage run`: the recorder, and its door.

use super::{Context, Error, Exit};
use crate::recorder;
use crate::system::allocator;

/// Runs the recorder (and its door, unless the configuration says otherwise) in the foreground, until SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "The recorder logs to the standard error (RUST_LOG=debug says more).")]
pub struct RunArgs {}

/// Runs until it is told to stop.
pub fn run(_: &RunArgs, context: &Context) -> Result<Exit, Error> {
    if !nix::unistd::geteuid().is_root() {
        let words = "the recorder must be started as root: it loads the probe (CAP_BPF, CAP_PERFMON) and reads other \
                     users' processes (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH). `afterimage doctor` says more";
        return Err(Error::failed(words));
    }
    allocator::keep_small();
    recorder::run(context.config.clone()).map_err(Error::failed)?;
    Ok(Exit::Done)
}
