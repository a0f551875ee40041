//! A private world: own PID, network, IPC, UTS and cgroup namespaces, and a root of its own.
//!
//! A test that calls [`inside`] is started twice. Outside, it starts its own executable again in bubblewrap, for
//! that one test, and waits for it with a deadline. Inside, it makes sure that it is inside, and runs its body.
//! Nothing of the machine is to be seen there but /usr, the kernel's BTF and the list of its event sources (read-only).

mod cgroups;
mod furnish;
mod outside;

use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

pub use self::outside::binaries;

/// Set inside, to the test's name.
const INSIDE: &str = "AFTERIMAGE_WORLD";
/// Set inside, to the PID namespace it was started from.
const OUTSIDE: &str = "AFTERIMAGE_WORLD_OUTSIDE";
/// Printed inside once the body has run to its end.
const MARKER: &str = "afterimage-world: the body ran to its end: ";
/// Inode number of the machine's own PID namespace (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How long a world may exist.
pub const LIFETIME: Duration = Duration::from_secs(180);

/// Where the world's results go: a folder that outlives it.
pub const OUT: &str = "/out";
/// Where the programs under test and the actors are, first in PATH.
pub const BIN: &str = "/out/bin";
/// Where the Python judges are.
pub const PYTHON: &str = "/out/python";
/// A whole Debian, packed: no more than what its packages install.
pub const DEBIAN: &str = "/out/debian.tar";
/// The user the victim's service runs as.
pub const SERVICE_USER: u32 = 1001;
/// And its home.
pub const SERVICE_HOME: &str = "/home/wasiluser";

/// Runs the body of the test called `name` (with its modules) in a world of its own.
///
/// Worlds are entered one at a time on the whole machine: a probe's hooks run for everybody.
///
/// # Panics
/// When the world cannot be made, or the body fails.
pub fn inside(name: &str, body: impl FnOnce() -> Result<()>) {
    if let Err(error) = enter(name, None, body) {
        panic!("{error:#}");
    }
}

/// The same, with what the body leaves in [`OUT`] copied into `results`.
pub fn enter(name: &str, results: Option<&std::path::Path>, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if env::var_os(INSIDE).is_none() {
        return outside::run(name, results);
    }
    assert_private()?;
    furnish::furnish().context("furnish the world")?;
    body()?;
    // On a line of its own, whatever was printed before.
    println!("\n{MARKER}{name}");
    Ok(())
}

/// The name of the world this runs in; nothing outside of one.
pub fn name() -> Option<String> {
    env::var(INSIDE).ok()
}

/// Refuses to go on anywhere but in a PID namespace that is neither the machine's nor that of whoever started it.
pub fn assert_private() -> Result<()> {
    let here = pid_namespace()?;
    let outer = env::var(OUTSIDE).unwrap_or_else(|_| here.clone());
    ensure!(
        here != INITIAL_PID_NAMESPACE && here != outer,
        "this is not a private PID namespace: nothing that looks at processes runs here"
    );
    Ok(())
}

fn pid_namespace() -> Result<String> {
    let link = fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    Ok(link.to_string_lossy().into_owned())
}
