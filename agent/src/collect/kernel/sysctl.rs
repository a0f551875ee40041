//! All that can be set in the running kernel, as `sysctl -a` prints it: `net.ipv4.ip_forward = 1`.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::bundle::Outcome;
use crate::collect::attempts::{Found, Miss};

/// Values, bytes of one of them, and how deep they may stand.
const VALUES_MAX: usize = 100_000;
const VALUE_MAX: u64 = 64 << 10;
const DEPTH_MAX: usize = 16;
/// The key from which the stable addresses of IPv6 are made.
const SECRET: &[u8] = b"stable_secret";

/// What was read so far.
struct Values {
    text: Vec<u8>,
    count: usize,
    /// Those that could not be read.
    unread: usize,
    until: Instant,
    over: bool,
}

/// The values below `proc`/sys.
#[expect(clippy::disallowed_methods, reason = "it is the kernel's")]
pub(super) fn values(proc: &Path, until: Instant) -> Result<Found<'static>, Miss> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = open(&proc.join("sys"), flags, Mode::empty())
        .map_err(|errno| Miss::at("open /proc/sys", &errno.into()))?;
    let mut values = Values { text: Vec::new(), count: 0, unread: 0, until, over: false };
    values.folder(top, &[], 0).map_err(|errno| Miss::at("list /proc/sys", &errno.into()))?;
    let Values { text, count, unread, over, .. } = values;
    let lack = over.then(|| Miss::new(Outcome::Partial, format!("the first {count} values")));
    Ok(Found::bytes(text).lacking(lack).noting(format!("{count} values; {unread} could not be read")))
}

impl Values {
    fn folder(&mut self, fd: OwnedFd, at: &[u8], depth: usize) -> nix::Result<()> {
        let mut dir = Dir::from_fd(fd)?;
        let mut entries: Vec<_> = dir
            .iter()
            .flatten()
            .map(|entry| (entry.file_name().to_owned(), entry.file_type()))
            .filter(|(name, _)| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        entries.sort_unstable_by(|one, two| one.0.cmp(&two.0));
        for (name, kind) in entries {
            if self.count >= VALUES_MAX || Instant::now() >= self.until {
                self.over = true;
                return Ok(());
            }
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            // What is mounted there (binfmt_misc, by autofs) is not the kernel's to answer.
            let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
            let opened = openat2(&dir, name.as_c_str(), how);
            let key = key(at, name.to_bytes());
            match (kind, opened) {
                (Some(Type::Directory), Ok(fd)) if depth < DEPTH_MAX => {
                    if self.folder(fd, &key, depth.saturating_add(1)).is_err() {
                        self.unread = self.unread.saturating_add(1);
                    }
                }
                (Some(Type::File), Ok(fd)) if name.to_bytes() != SECRET => self.value(File::from(fd), &key),
                (Some(Type::File), Err(errno)) if errno != Errno::ENOENT => {
                    self.unread = self.unread.saturating_add(1);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn value(&mut self, file: File, key: &[u8]) {
        // Some can only be written to, and doing so means something.
        if file.metadata().is_ok_and(|found| found.permissions().mode() & 0o444 == 0) {
            return;
        }
        let mut value = Vec::new();
        if file.take(VALUE_MAX).read_to_end(&mut value).is_err() {
            self.unread = self.unread.saturating_add(1);
            return;
        }
        self.count = self.count.saturating_add(1);
        push(&mut self.text, key, &value);
    }
}

/// The key of what stands below `at`; a dot in a name (of an interface) is written `/`, as sysctl(8) does.
fn key(at: &[u8], name: &[u8]) -> Vec<u8> {
    let name = name.iter().map(|&byte| if byte == b'.' { b'/' } else { byte });
    let dot = (!at.is_empty()).then_some(b'.');
    at.iter().copied().chain(dot).chain(name).collect()
}

/// A line for each line of the value.
fn push(text: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    for line in value.split(|&byte| byte == b'\n') {
        text.extend([key, b" = ", line, b"\n"].concat());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_and_values_are_written_as_sysctl_does() {
        let mut text = Vec::new();
        push(&mut text, &key(b"net.ipv4.conf", b"eth0.7"), b"1\n");
        push(&mut text, &key(b"", b"many"), b"a\tb\nc\n");
        push(&mut text, &key(b"", b"none"), b"");
        assert_eq!(text, b"net.ipv4.conf.eth0/7 = 1\nmany = a\tb\nmany = c\nnone = \n");
    }

    #[test]
    fn a_folder_of_values_is_read_and_what_is_no_value_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        std::fs::create_dir_all(sys.join("net/deep")).unwrap();
        std::fs::write(sys.join("net/deep/forward"), "1\n").unwrap();
        std::fs::write(sys.join("net/stable_secret"), "secret\n").unwrap();
        std::fs::write(sys.join("act"), "x\n").unwrap();
        std::fs::set_permissions(sys.join("act"), std::fs::Permissions::from_mode(0o200)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", sys.join("link")).unwrap();
        nix::unistd::mkfifo(&sys.join("fifo"), Mode::S_IRWXU).unwrap();
        let mut values = Values {
            text: Vec::new(),
            count: 0,
            unread: 0,
            until: Instant::now() + Duration::from_secs(10),
            over: false,
        };
        let fd = File::open(&sys).unwrap().into();
        values.folder(fd, &[], 0).unwrap();
        assert_eq!((values.text.as_slice(), values.count), (&b"net.deep.forward = 1\n"[..], 1));
        values.until = Instant::now();
        values.folder(File::open(&sys).unwrap().into(), &[], 0).unwrap();
        assert!(values.over);
    }
}
