//! Measuring, in private worlds: `cargo xtask bench`.

pub mod door;
pub mod kernel_time;
pub mod ratio;

use anyhow::Result;

use crate::world;

/// What is measured in one world.
pub struct Part {
    /// Its world's name.
    pub name: &'static str,
    /// Measures and prints; fails when it could not measure, not when a goal was missed.
    pub measure: fn() -> Result<()>,
}

/// One after the other, each in a world of its own; in a world, the part it was made for.
pub fn run(parts: &[Part]) -> Result<()> {
    let inside = world::name();
    for part in parts.iter().filter(|part| inside.as_ref().is_none_or(|name| name == part.name)) {
        world::enter(part.name, None, part.measure)?;
    }
    Ok(())
}
