//! The texts of /proc, as bytes: names, command lines and paths in them are chosen by whoever is looked at.
//!
//! Pure parsers: the caller reads the file, bounded; what comes back is values, or an error that names the field.

mod cgroup;
mod fdinfo;
mod iomem;
pub mod kallsyms;
pub mod kcore;
mod held;
mod maps;
mod mountinfo;
mod net;
mod ns;
mod nul;
mod rights;
mod stat;
mod status;
mod vmcoreinfo;

pub use cgroup::{Membership, memberships, unified_path};
pub use fdinfo::FdInfo;
pub use held::{EpollWatch, Held, Watch};
pub use iomem::{Resource, resources, system_ram};
pub use maps::{Mapping, device_memory, mappings};
pub(crate) use mountinfo::unescape;
pub use mountinfo::{Mount, is_reached, mounts};
pub use net::{InetSocket, UnixSocket, inet_sockets, packet_sockets, tcp_state, unix_sockets};
pub use ns::namespace_inode;
pub use nul::{Cut, nul_separated};
pub use rights::{Limit, Rights, Timer, limits, timers};
pub use stat::Stat;
pub use status::{Status, status_name};
pub use vmcoreinfo::Vmcoreinfo;

/// A text of /proc that is not what proc(5) says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file ended before this field, or the field is not a number in range.
    #[error("{file}: field `{field}` is missing or not a number in range")]
    Field {
        /// Which file of /proc/PID.
        file: &'static str,
        /// proc(5)'s name of the field.
        field: &'static str,
    },
}

/// The decimal number that `digits` is, whole; no sign, no spaces.
fn decimal<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    let (first, _) = digits.split_first()?;
    first.is_ascii_digit().then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}
