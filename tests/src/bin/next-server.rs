//! A small web service with a hole: `GET /run?cmd=...` runs a command, as the crafted request of React2Shell did.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::{env, thread};

use anyhow::{Context, Result};
use e2e::http;

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "[::]:3000".to_owned());
    let listener = TcpListener::bind(&address).with_context(|| format!("listen at {address}"))?;
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(&stream) {
                eprintln!("next-server: {error:#}");
            }
        });
    }
    Ok(())
}

fn serve(stream: &TcpStream) -> Result<()> {
    let target = http::target(stream)?;
    let Some(command) = http::parameter(&target, "cmd") else {
        return Ok(http::answer(stream, "200 OK", b"<h1>Dashboard</h1>")?);
    };
    let output = Command::new("sh").arg("-c").arg(String::from_utf8(command)?).output()?;
    Ok(http::answer(stream, "200 OK", &output.stdout)?)
}
