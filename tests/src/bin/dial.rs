//! Connects to itself over loopback, accepts, and closes again, over and over. Says as one JSON line what it really did.
//!
//! The address goes round in 127.0.0.0/8: one address has no more than some 28,000 ports a minute.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

/// Connections over loopback, one after the other.
#[derive(Parser)]
struct Options {
    /// How many.
    #[arg(long)]
    times: u32,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let begun = Instant::now();
    for number in 0..options.times {
        let [_, _, third, fourth] = number.to_be_bytes();
        let address = SocketAddrV4::new(Ipv4Addr::new(127, 1, third, fourth.max(1)), port);
        let client = TcpStream::connect(address)?;
        // The kernel has completed it already: one thread can be both sides, and no queue overflows.
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let each = seconds / f64::from(options.times) * 1e6;
    println!("{}", json!({"connections": options.times, "seconds": seconds, "us_each": each}));
    Ok(())
}
