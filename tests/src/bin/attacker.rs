//! The other side: serves payloads from a folder, accepts call-backs, and says on stdout what it saw.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use anyhow::{Context, Result};
use e2e::http;

fn main() -> Result<()> {
    let folder = PathBuf::from(env::args().nth(1).context("usage: attacker FOLDER")?);
    let files = TcpListener::bind("[::]:8000")?;
    let callbacks = TcpListener::bind("[::]:4444")?;
    println!("ready");
    thread::spawn(move || {
        for stream in files.incoming().flatten() {
            if let Err(error) = serve(&stream, &folder) {
                eprintln!("attacker: {error:#}");
            }
        }
    });
    for stream in callbacks.incoming() {
        note(&stream?)?;
    }
    Ok(())
}

fn serve(stream: &TcpStream, folder: &std::path::Path) -> Result<()> {
    let target = http::target(stream)?;
    match fs::read(folder.join(target.trim_start_matches('/'))) {
        Ok(content) => http::answer(stream, "200 OK", &content)?,
        Err(_) => http::answer(stream, "404 Not Found", b"")?,
    }
    println!("served {target}");
    Ok(())
}

/// `callback <nanoseconds since 1970> <peer's address> <peer's port> <what it said>`
fn note(mut stream: &TcpStream) -> Result<()> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let peer = stream.peer_addr()?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut said = [0; 64];
    let length = stream.read(&mut said)?;
    let said = String::from_utf8_lossy(&said[..length]);
    println!("callback {time} {} {} {}", peer.ip().to_canonical(), peer.port(), said.trim());
    Ok(())
}
