//! Connections and datagrams over the loopback interface, to ourselves.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::{Findings, Options, Trial, Verdict, identity};
use crate::event::{Action, Event, ProcessId};

/// The programs that tell of it.
pub(super) const PROGRAMS: [&str; 6] = ["tcp", "calls", "accepted2", "accepted4", "udp4", "udp6"];

/// What was connected and sent, by the addresses that the kernel gave us.
pub(super) struct Network {
    us: ProcessId,
    listener: SocketAddr,
    peer: SocketAddr,
    datagram: SocketAddr,
    /// IPv6 may be off.
    datagram6: io::Result<SocketAddr>,
}

impl Network {
    /// Listens, connects, accepts, and sends a datagram over IPv4 and one over IPv6.
    pub(super) fn happen(options: &Options) -> io::Result<Self> {
        let us = identity(&options.proc_root.join("self"), options)?;
        Self::connect(us).map_err(|error| {
            io::Error::new(error.kind(), format!("no connection over the loopback interface: {error}"))
        })
    }

    fn connect(us: ProcessId) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let _client = TcpStream::connect(address)?;
        let (_server, peer) = listener.accept()?;
        let (datagram, datagram6) = (send("127.0.0.1:0")?, send("[::1]:0"));
        Ok(Self { us, listener: address, peer, datagram, datagram6 })
    }
}

impl Trial for Network {
    fn concerns(&self, event: &Event) -> bool {
        event.process == self.us
    }

    fn findings(&self, events: &[Event]) -> Findings {
        let told = |wanted: &dyn Fn(&Action) -> bool| events.iter().any(|event| wanted(&event.action));
        let (listener, peer) = (self.listener, self.peer);
        let heard = told(&|action| matches!(action, Action::Listen(flow) if flow.local == listener));
        let connected = told(&|action| matches!(action, Action::Connect(flow) if flow.remote == listener));
        let accepted = told(
            &|action| matches!(action, Action::Accept(flow) if flow.local == listener && flow.remote == peer),
        );
        let sent = |address| {
            let told = told(&|action| matches!(action, Action::Datagram(flow) if flow.remote == address));
            finding(told, "a datagram to a new peer", address)
        };
        let udp6 = match &self.datagram6 {
            Ok(address) => sent(*address),
            Err(error) => Ok(Verdict::Unchecked(format!("no datagram over IPv6: {error}"))),
        };
        let acceptance = |name| (name, finding(accepted, "an accepted connection and its peer", listener));
        vec![
            ("tcp", finding(heard && connected, "a socket that listens and a connection to it", listener)),
            acceptance("calls"),
            acceptance("accepted2"),
            acceptance("accepted4"),
            ("udp4", sent(self.datagram)),
            ("udp6", udp6),
        ]
    }
}

/// Sends a datagram to a socket of our own; where it was sent.
fn send(own: &str) -> io::Result<SocketAddr> {
    let receiver = UdpSocket::bind(own)?;
    let address = receiver.local_addr()?;
    UdpSocket::bind(own)?.send_to(b"afterimage", address)?;
    Ok(address)
}

fn finding(told: bool, what: &str, address: SocketAddr) -> Result<Verdict, String> {
    if told {
        Ok(Verdict::Agrees(format!("{what}, on the loopback interface")))
    } else {
        Err(format!("{what} at {address}"))
    }
}
