//! cargo xtask: everything that is not cargo itself.

mod bench;
mod binaries;
mod check;
mod command;
mod demo;
mod ebpf;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything around afterimage that is not cargo itself.
///
/// On a fresh Debian 12 with git, Rust (stable) and a C linker, as root, `cargo xtask demo` and `cargo xtask test`
/// are all you need: each first says what it is about to install, and installs it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plays an intrusion against the real agent, in a private world, and shows the bundle that comes of it
    Demo,
    /// Runs everything that must pass: check, unit tests, worlds, the probe's rebuild, a VM
    Test,
    /// Measures what the README may say, in private worlds, and says which goals are reached
    Bench {
        /// What to measure: a group, or one part of it by its world's name; without this, all
        #[arg(value_name = "door|history|record|PART")]
        what: Option<String>,
    },
    /// Formatting, lints, no file above 500 lines, no machine's own paths
    Check,
    /// Says which tools are missing on this machine, and installs them with apt, cargo and pip
    Setup,
    /// Boots Debian kernels in QEMU with the static agent, and compares what it reports with /proc
    Vm {
        /// Every kernel of tests/kernels.toml, and then what --ram does; without this, 6.1 only
        #[arg(long, conflicts_with = "kernel")]
        all: bool,
        /// One kernel of tests/kernels.toml, such as 5.10
        #[arg(long, value_name = "V")]
        kernel: Option<String>,
        /// Instead: takes the whole RAM of a machine and has volatility3 read the images
        #[arg(long, conflicts_with = "all")]
        ram: bool,
    },
    /// Builds the probe into ebpf/built/
    Ebpf {
        /// Compares a fresh build with the committed one, byte for byte, and changes nothing
        #[arg(long)]
        verify: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo => demo::run(),
        Task::Test => test::run(),
        Task::Bench { what } => bench::run(what.as_deref()),
        Task::Check => check::check(),
        Task::Setup => setup::run(&setup::EVERYTHING),
        Task::Vm { ram: true, kernel, .. } => vm::run_ram(kernel.as_deref()),
        Task::Vm { all, kernel, .. } => vm::run(all, kernel.as_deref()),
        Task::Ebpf { verify } => ebpf::run(verify),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
