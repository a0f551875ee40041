//! The memory of a process, read through `/proc/PID/mem`: that also gives pages that the process itself may not read, and never
//! waits for a user-space pager.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

/// Where it is read from.
#[derive(Debug)]
pub(super) struct Source {
    mem: File,
    /// Bytes of a page.
    pub(super) page: usize,
}

/// A range the kernel did not give.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) why: io::Error,
}

impl Source {
    pub(super) fn new(mem: File, page: usize) -> Self {
        Self { mem, page }
    }

    /// Fills `buffer` with the memory from `start` on; a page that the kernel does not give becomes zeros.
    pub(super) fn read(
        &self,
        start: u64,
        buffer: &mut [u8],
        unreadable: &mut Vec<Unreadable>,
    ) -> io::Result<()> {
        let page = u64::try_from(self.page).map_err(io::Error::other)?;
        let mut at = 0;
        while at < buffer.len() {
            let address = start + u64::try_from(at).map_err(io::Error::other)?;
            let rest = buffer.get_mut(at..).unwrap_or_default();
            match self.mem.read_at(rest, address) {
                // The address space is gone; an address that is not mapped would be an error.
                Ok(0) => return Err(Errno::ESRCH.into()),
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => {
                    let end = (address / page + 1) * page;
                    let length = usize::try_from(end - address).map_err(io::Error::other)?.min(rest.len());
                    rest.get_mut(..length).unwrap_or_default().fill(0);
                    unreadable.push(Unreadable { start: address, end, why });
                    at += length;
                }
            }
        }
        Ok(())
    }
}
