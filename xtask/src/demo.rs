//! `cargo xtask demo`.
use anyhow::Result;

/// Plays the drill and shows the bundle.
pub fn run() -> Result<()> {
    anyhow::bail!("the demo needs the agent, which is not there yet")
}
