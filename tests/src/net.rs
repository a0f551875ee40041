//! A second host: a network namespace at the other end of a veth pair.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::{fs, process, thread};

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The attacker's addresses (RFC 5737 and RFC 4193: for documents and private use).
pub const ATTACKER: &str = "192.0.2.66";
/// Over IPv6.
pub const ATTACKER6: &str = "fd00:66::66";
/// The victim's.
pub const VICTIM: &str = "192.0.2.10";
/// Over IPv6.
pub const VICTIM6: &str = "fd00:66::10";

/// The other host's network; processes and sockets can be started in it.
pub struct Namespace(OwnedFd);

impl Namespace {
    /// The attacker's network, joined to this one: here `eth0` has the victim's addresses.
    pub fn attacker() -> Result<Self> {
        let namespace = Self::empty()?;
        // By its descriptor: a pid or a name under /run/netns would need a holder.
        let path = format!("/proc/{}/fd/{}", process::id(), namespace.0.as_raw_fd());
        ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &path])?;
        host(VICTIM, VICTIM6)?;
        namespace.run(|| host(ATTACKER, ATTACKER6))??;
        Ok(namespace)
    }

    fn empty() -> Result<Self> {
        let descriptor = thread::spawn(|| -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
            Ok(fs::File::open("/proc/thread-self/ns/net")?.into())
        });
        Ok(Self(descriptor.join().map_err(|_| anyhow!("the namespace's thread panicked"))??))
    }

    /// Runs `work` on a thread that is in the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                setns(&self.0, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("the thread in the network namespace panicked"))?
        })
    }

    /// Starts a process in it.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let program = Path::new(command.get_program()).display().to_string();
        self.run(|| command.spawn())?.with_context(|| format!("cannot start {program}"))
    }
}

fn host(address: &str, address6: &str) -> Result<()> {
    ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    // Without `nodad` the address would be unusable for a second.
    ip(&["addr", "add", &format!("{address6}/64"), "dev", "eth0", "nodad"])?;
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "set", "eth0", "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status().context("cannot start ip (package iproute2)")?;
    ensure!(status.success(), "`ip {}` failed: {status}", arguments.join(" "));
    Ok(())
}

/// Switches the loopback device on, where there is no `ip`.
pub fn loopback_up() -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is a valid value: a name of zeros and a union of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from)?;
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP)?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(result).context("switch the loopback device on")?;
    Ok(())
}
