//! A living target: threads, a pattern in memory, an environment, descriptors. Says as one JSON line what it has.

use std::fs::{self, File};
use std::io::{Write, stdin};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::{env, process, thread};

use anyhow::{Context, Result};
use serde_json::json;

/// Repeated in memory; long enough not to be there by chance.
const PATTERN: &[u8; 32] = b"afterimage-drill-pattern-0123456";
/// What the deleted file holds.
const DELETED: &str = "read me through /proc\n";
const TIMES: usize = 4096;
const THREADS: usize = 3;

fn main() -> Result<()> {
    let usage = "usage: worker PATH-OF-A-FILE-TO-DELETE MEBIBYTES";
    let path = env::args().nth(1).context(usage)?;
    let mebibytes: usize = env::args().nth(2).context(usage)?.parse()?;
    let ballast = noise(mebibytes << 20);
    let mut deleted = File::create_new(&path)?;
    deleted.write_all(DELETED.as_bytes())?;
    fs::remove_file(&path)?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = TcpStream::connect(address)?;
    let (server, _) = listener.accept()?;

    let memory = PATTERN.repeat(TIMES).into_boxed_slice();
    let running = Barrier::new(THREADS + 1);
    thread::scope(|scope| -> Result<()> {
        for number in 0..THREADS {
            let name = format!("worker-{number}");
            thread::Builder::new().name(name).spawn_scoped(scope, || wait_in_a_named_frame(&running))?;
        }
        running.wait();
        let report = json!({
            "pid": process::id(),
            "address": format!("{:#x}", memory.as_ptr().addr()),
            "pattern": str::from_utf8(PATTERN)?,
            "times": TIMES,
            "threads": THREADS + 1,
            "ballast": format!("{:#x}", ballast.as_ptr().addr()),
            "deleted": {"fd": deleted.as_raw_fd(), "path": path, "content": DELETED},
            "listener": address.to_string(),
            "client": client.local_addr()?.to_string(),
            "sockets": [listener.as_raw_fd(), client.as_raw_fd(), server.as_raw_fd()],
        });
        println!("{report}");
        // Until whoever started us closes our stdin.
        stdin().lines().for_each(drop);
        process::exit(0);
    })
}

/// Bytes that do not compress (a linear congruential generator's upper halves).
fn noise(bytes: usize) -> Box<[u8]> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A name to look for in the debugger's back-trace.
#[inline(never)]
fn wait_in_a_named_frame(running: &Barrier) {
    running.wait();
    loop {
        thread::park();
    }
}
