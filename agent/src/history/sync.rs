//! Brings what was written onto the disk itself, in a thread of its own: a slow disk must not hold the recorder up.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use nix::fcntl::Flock;

/// Files that may wait for a disk that does not answer; more are left to the kernel, which writes them in its own time.
const WAITING: usize = 16;

/// What is to be synced.
pub(super) enum Order {
    /// A segment's content; its lock is let go afterwards.
    Data(Flock<File>),
    /// The segment that is still being written, by another descriptor.
    Open(File),
    /// The names in a folder.
    Folder(File),
}

impl Order {
    fn run(&self) -> io::Result<()> {
        match self {
            Self::Data(file) => file.sync_data(),
            Self::Open(file) => file.sync_data(),
            Self::Folder(folder) => folder.sync_all(),
        }
    }
}

/// The thread, and what it was told. One order is under way at a time.
pub(super) struct Syncer {
    orders: SyncSender<Vec<Order>>,
    done: Receiver<io::Result<()>>,
    waiting: Vec<Order>,
    /// Events written since the last order.
    fresh: u64,
    /// Events of the order that is under way.
    under_way: Option<u64>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let (orders, their_orders) = sync_channel::<Vec<Order>>(1);
        let (their_done, done) = sync_channel(1);
        std::thread::Builder::new().name("history-sync".to_owned()).stack_size(64 << 10).spawn(
            move || {
                for orders in their_orders {
                    let outcome = orders.iter().try_for_each(Order::run);
                    // Whoever hears that it is done finds the locks gone.
                    drop(orders);
                    if their_done.send(outcome).is_err() {
                        return;
                    }
                }
            },
        )?;
        Ok(Self { orders, done, waiting: Vec::new(), fresh: 0, under_way: None })
    }

    /// So many events are with the kernel, and not yet on the disk.
    pub(super) fn wrote(&mut self, events: u64) {
        self.fresh = self.fresh.saturating_add(events);
    }

    /// Goes with the next order.
    pub(super) fn later(&mut self, order: Order) {
        if self.waiting.len() < WAITING {
            self.waiting.push(order);
        }
    }

    /// Gives the next order when the last one is done. On an error: how many events may not have reached the disk.
    pub(super) fn turn(&mut self, current: Option<&File>) -> Result<(), (u64, io::Error)> {
        match self.done.try_recv() {
            Ok(outcome) => self.ended(outcome)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return self.ended(Err(io::Error::other("its thread is gone")));
            }
        }
        if self.under_way.is_some() || (self.fresh == 0 && self.waiting.is_empty()) {
            return Ok(());
        }
        let mut orders = std::mem::take(&mut self.waiting);
        if self.fresh > 0 {
            orders.extend(current.and_then(|file| file.try_clone().ok()).map(Order::Open));
        }
        self.under_way = Some(std::mem::take(&mut self.fresh));
        // There is room: nothing is under way.
        drop(self.orders.try_send(orders));
        Ok(())
    }

    /// Waits until everything is done.
    pub(super) fn finish(&mut self) -> Result<(), (u64, io::Error)> {
        while self.under_way.is_some() || self.fresh > 0 || !self.waiting.is_empty() {
            if self.under_way.is_some() {
                let outcome = self.done.recv().unwrap_or_else(|gone| Err(io::Error::other(gone)));
                self.ended(outcome)?;
            }
            self.turn(None)?;
        }
        Ok(())
    }

    fn ended(&mut self, outcome: io::Result<()>) -> Result<(), (u64, io::Error)> {
        let events = self.under_way.take().unwrap_or_default();
        outcome.map_err(|failure| (events.saturating_add(std::mem::take(&mut self.fresh)), failure))
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::FlockArg;

    use super::*;

    fn locked(file: File) -> Order {
        Order::Data(Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap())
    }

    #[test]
    fn what_the_disk_refuses_is_counted_once() {
        let mut syncer = Syncer::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("x")).unwrap();
        syncer.wrote(3);
        syncer.later(locked(file));
        syncer.finish().unwrap();
        // A descriptor that cannot be synced (EINVAL), as a disk that fails answers EIO.
        syncer.wrote(4);
        syncer.later(Order::Open(File::open("/proc/self/status").unwrap()));
        let (lost, _) = syncer.finish().unwrap_err();
        assert_eq!(lost, 4);
        syncer.wrote(5);
        syncer.finish().unwrap();
    }

    #[test]
    fn no_more_waits_than_is_allowed() {
        let mut syncer = Syncer::start().unwrap();
        for _ in 0..100 {
            syncer.later(Order::Open(File::open("/dev/null").unwrap()));
        }
        assert_eq!(syncer.waiting.len(), WAITING);
    }
}
