//! The fanotify group: questions and marks.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};

use super::{Error, failed};

/// The group, and whether its marks on files can be given up by the kernel when it needs the memory (Linux 5.19).
pub(super) struct Group {
    fanotify: Fanotify,
    evictable: bool,
}

impl Group {
    /// The queue and the number of marks are unlimited: a question that does not fit would be a refusal.
    pub(super) fn new() -> Result<Self, Error> {
        let flags = InitFlags::FAN_CLASS_CONTENT
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS;
        // Without O_NONBLOCK a lease that a user holds on its own file would hold the gate, and so every program.
        let files = EventFFlags::O_RDONLY
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_NONBLOCK
            | EventFFlags::O_NOATIME;
        let fanotify = Fanotify::init(flags, files).map_err(failed("open a fanotify group"))?;
        Ok(Self { fanotify, evictable: true })
    }

    /// The questions that wait now.
    pub(super) fn events(&self) -> Vec<FanotifyEvent> {
        match self.fanotify.read_events() {
            Ok(events) => events,
            // None there; or a file is under a lease, and the kernel has refused that one execution by itself.
            Err(Errno::EAGAIN | Errno::EINTR) => Vec::new(),
            Err(failure) => {
                tracing::warn!("the kernel could not open a file that was to be executed: {failure}");
                Vec::new()
            }
        }
    }

    /// The only answer there is.
    pub(super) fn allow(&self, file: BorrowedFd<'_>) {
        let answer = FanotifyResponse::new(file, Response::FAN_ALLOW);
        // ENOENT: whoever waited was killed meanwhile.
        if let Err(failure) = self.fanotify.write_response(answer)
            && failure != Errno::ENOENT
        {
            tracing::warn!("an answer was not taken by the kernel: {failure}");
        }
    }

    /// Asks about everything that is executed from the mount of `place`, or from its whole file system.
    pub(super) fn mark_place(&self, place: &Path, file_system: bool) -> Result<(), Errno> {
        let scope = if file_system { MarkFlags::FAN_MARK_FILESYSTEM } else { MarkFlags::FAN_MARK_MOUNT };
        let flags = MarkFlags::FAN_MARK_ADD | scope;
        self.fanotify.mark(flags, MaskFlags::FAN_OPEN_EXEC_PERM, AT_FDCWD, Some(place))
    }

    /// Tells us when the file is closed after it was open for writing: also a shared mapping ends with that.
    pub(super) fn watch_writes(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.mark_file(file, MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_CLOSE_WRITE)
    }

    /// Asks no more about this file, until it is written to (`write`; a shared mapping does not count).
    pub(super) fn ignore(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_IGNORED_MASK;
        self.mark_file(file, flags, MaskFlags::FAN_OPEN_EXEC_PERM)
    }

    /// Asks about it again.
    pub(super) fn heed(&self, file: BorrowedFd<'_>) {
        let flags = MarkFlags::FAN_MARK_REMOVE | MarkFlags::FAN_MARK_IGNORED_MASK;
        let outcome = self.fanotify.mark(flags, MaskFlags::FAN_OPEN_EXEC_PERM, file, None::<&Path>);
        // ENOENT: the write itself has cleared it.
        if let Err(failure) = outcome
            && failure != Errno::ENOENT
        {
            tracing::warn!("an ignore mark cannot be removed: {failure}");
        }
    }

    /// Asks about every file again.
    pub(super) fn heed_all(&self) -> Result<(), Errno> {
        self.fanotify.mark(MarkFlags::FAN_MARK_FLUSH, MaskFlags::empty(), AT_FDCWD, Some("/"))
    }

    fn mark_file(&mut self, file: BorrowedFd<'_>, flags: MarkFlags, mask: MaskFlags) -> Result<(), Errno> {
        if self.evictable {
            let flags = flags | MarkFlags::FAN_MARK_EVICTABLE;
            match self.fanotify.mark(flags, mask, file, None::<&Path>) {
                Err(Errno::EINVAL) => self.evictable = false,
                outcome => return outcome,
            }
        }
        self.fanotify.mark(flags, mask, file, None::<&Path>)
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }
}
