//! The canary: what the recorder sends to see whether it sees (src/vigil/).

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};

/// Bit of the exit code: no conversation over TCP could be had, as where the loopback interface is down.
pub const NO_TCP: u8 = 1;
/// Bit of the exit code: no datagram could be sent.
pub const NO_UDP: u8 = 2;
/// Nobody listens there (RFC 863), and it does not matter.
const DISCARD: &str = "127.0.0.1:9";

/// Listens, connects to itself, accepts, sends a datagram; the exit code says what could not be done.
pub fn sing() -> u8 {
    let tcp = if converse().is_ok() { 0 } else { NO_TCP };
    let udp = if tell().is_ok() { 0 } else { NO_UDP };
    tcp | udp
}

fn converse() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    listener.accept().map(drop)
}

fn tell() -> io::Result<usize> {
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"afterimage", DISCARD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_all_of_it_where_there_is_a_loopback_interface() {
        assert_eq!(sing(), 0);
    }
}
