//! The binary `afterimage`: parse, call, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    afterimage::cli::main().into()
}
