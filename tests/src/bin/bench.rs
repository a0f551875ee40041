//! `cargo xtask bench`: measures in private worlds; see `e2e::bench`.

use anyhow::Result;
use e2e::bench::{self, Part};

const PARTS: [Part; 2] = [
    Part { name: "kernel_time", measure: bench::kernel_time::measure },
    Part { name: "ratio", measure: bench::ratio::measure },
];

fn main() -> Result<()> {
    bench::run(&PARTS)
}
