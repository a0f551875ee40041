//! The local socket: `capture`, `watch`, `status` speak to the recorder here.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use uuid::Uuid;

use super::captures::Happening;
use super::{Error, io};
use crate::event::Event;
use crate::ipc::{self, Channel, Listener, Reply, Request};

/// Clients at the same time.
const CLIENTS_MAX: usize = 16;
/// Messages that may wait for one client before it is dropped.
const WAITING_MAX: usize = 4096;

/// One client.
struct Client {
    channel: Channel,
    peer: ipc::Peer,
    watches: bool,
    waits_for: Option<Uuid>,
    /// Not yet taken by the client.
    outbox: VecDeque<Reply>,
    /// Events it was too slow for.
    missed: u64,
}

/// All of them.
pub(super) struct Clients {
    listener: Listener,
    all: Vec<Option<Client>>,
}

/// A request, with the place to answer it.
pub(super) struct Asked {
    /// Who asks; for [`Clients::answer`].
    pub(super) client: usize,
    /// The user who asks.
    pub(super) uid: u32,
    /// What.
    pub(super) request: Request,
    /// What came along.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Clients {
    /// Listens, in a folder for root alone.
    pub(super) fn listen(socket: &Path) -> Result<Self, Error> {
        if let Some(folder) = socket.parent() {
            std::fs::create_dir_all(folder)
                .map_err(io(format!("make the folder of {}", socket.display())))?;
        }
        Ok(Self { listener: Listener::bind(socket)?, all: Vec::new() })
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.all.iter().flatten().map(|client| client.channel.as_fd());
        std::iter::once(self.listener.as_fd()).chain(clients)
    }

    /// Lets new clients in, sends what waits, and returns what is asked.
    pub(super) fn turn(&mut self) -> Vec<Asked> {
        self.let_in();
        let mut asked = Vec::new();
        for (number, slot) in self.all.iter_mut().enumerate() {
            let Some(client) = slot else { continue };
            let gone = loop {
                match client.channel.try_recv::<Request>() {
                    Ok(Some((request, descriptors))) => {
                        asked.push(Asked { client: number, uid: client.peer.uid, request, descriptors });
                    }
                    Ok(None) => break true,
                    Err(ipc::Error::WouldBlock) => break !client.send_waiting(),
                    Err(failure) => {
                        tracing::warn!(pid = client.peer.pid, "a client is dropped: {failure}");
                        break true;
                    }
                }
            };
            if gone {
                *slot = None;
            }
        }
        asked
    }

    /// Answers a client. With `watch` it gets events from now on, with `wait_for` the way of that capture.
    pub(super) fn answer(&mut self, client: usize, reply: Reply, watch: bool, wait_for: Option<Uuid>) {
        let Some(Some(client)) = self.all.get_mut(client) else { return };
        client.watches |= watch;
        client.waits_for = wait_for.or(client.waits_for);
        client.outbox.push_back(reply);
        client.send_waiting();
    }

    /// Passes an event to those who watch. One who is too slow loses events, and is told how many.
    pub(super) fn event(&mut self, event: &Event) {
        for client in self.all.iter_mut().flatten().filter(|client| client.watches) {
            if client.outbox.len() >= WAITING_MAX {
                client.missed = client.missed.saturating_add(1);
            } else {
                client.outbox.push_back(Reply::Event(event.clone()));
            }
        }
    }

    /// Passes on what happened to a capture to those who wait for it.
    pub(super) fn happening(&mut self, happening: &Happening, store: &Path) {
        let (id, reply) = match happening {
            Happening::Progress(id, progress) => (
                *id,
                Reply::Progress {
                    id: *id,
                    collection: progress.collection.clone(),
                    done: progress.done,
                    total: progress.total,
                    bytes: progress.bytes,
                },
            ),
            Happening::Ended(id, Ok(sealed)) => (
                *id,
                Reply::Sealed {
                    id: *id,
                    file: store.join(&sealed.file).display().to_string(),
                    bytes: sealed.bytes,
                    sha256: sealed.sha256.clone(),
                    complete: sealed.incomplete.is_none(),
                    outcomes: super::outcomes(sealed),
                },
            ),
            // An earlier recorder's: nobody of now waits for it.
            Happening::Found(..) => return,
            Happening::Ended(id, Err(reason)) => (*id, Reply::Refused { reason: reason.clone() }),
        };
        for client in self.all.iter_mut().flatten().filter(|client| client.waits_for == Some(id)) {
            client.outbox.push_back(reply.clone());
            client.send_waiting();
        }
    }

    fn let_in(&mut self) {
        while self.all.iter().flatten().count() < CLIENTS_MAX && self.someone_waits() {
            let Ok(channel) = self.listener.accept() else { return };
            let Ok(peer) = channel.peer() else { continue };
            // The socket's mode says the same; this holds also where the folder's rights were changed.
            if peer.uid != 0 && peer.uid != nix::unistd::geteuid().as_raw() {
                tracing::warn!(uid = peer.uid, pid = peer.pid, "a client that is not root is turned away");
                continue;
            }
            let client =
                Client { channel, peer, watches: false, waits_for: None, outbox: VecDeque::new(), missed: 0 };
            match self.all.iter_mut().find(|slot| slot.is_none()) {
                Some(slot) => *slot = Some(client),
                None => self.all.push(Some(client)),
            }
        }
    }

    fn someone_waits(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        poll(&mut [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
    }
}

impl Client {
    /// Sends until nothing waits or the client takes no more; `false` when it is gone.
    fn send_waiting(&mut self) -> bool {
        while let Some(reply) = self.outbox.front() {
            match self.channel.try_send(reply, &[]) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(ipc::Error::WouldBlock) => return true,
                Err(_) => return false,
            }
        }
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            self.outbox.push_back(Reply::Missed { events: missed });
        }
        true
    }
}
