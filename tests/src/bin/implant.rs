//! The binary that calls itself `vim`: calls back to ADDRESS every 500 ms, TIMES times.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{env, process, thread};

use anyhow::{Context, Result};

const BEAT: Duration = Duration::from_millis(500);
/// Then it lies in wait until it is killed, but not for ever.
const AT_MOST: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let usage = "usage: implant ADDRESS TIMES";
    let address: SocketAddr = env::args().nth(1).context(usage)?.parse()?;
    let times: u32 = env::args().nth(2).context(usage)?.parse()?;
    for _ in 0..times {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        writeln!(stream, "{}", process::id())?;
        drop(stream);
        thread::sleep(BEAT);
    }
    thread::sleep(AT_MOST);
    Ok(())
}
