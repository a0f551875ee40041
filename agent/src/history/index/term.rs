//! Words by which a frame is found, as hashes: one that collides costs a frame that is read for nothing.

use std::net::IpAddr;

/// The first digits of a container's id; no shorter run of digits is one.
const CONTAINER: usize = 12;
/// What the kernel keeps of a short name.
const COMM: usize = 15;

/// A hashed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub(super) u32);

impl Term {
    /// The last name of a path: of an executable, a script, a first argument, or a short name.
    pub fn name(path: &[u8]) -> Self {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        hash(b'n', name)
    }

    /// A process's short name, as much of it as the kernel keeps.
    pub fn short(name: &[u8]) -> Self {
        Self::name(name.get(..COMM).unwrap_or(name))
    }

    /// The last name of the first word of a command line.
    pub fn command(line: &[u8]) -> Self {
        Self::name(line.split(|&byte| byte == b' ').next().unwrap_or(line))
    }

    /// The far side of a conversation.
    pub fn remote(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => hash(b'4', &address.octets()),
            IpAddr::V6(address) => hash(b'6', &address.octets()),
        }
    }

    /// A user.
    pub fn user(uid: u32) -> Self {
        hash(b'u', &uid.to_le_bytes())
    }

    /// A container, by its id; `None` where the id is too short to be looked for.
    pub fn container(id: &str) -> Option<Self> {
        Some(hash(b'c', id.as_bytes().get(..CONTAINER)?))
    }

    /// The containers that the path of a cgroup names.
    pub fn containers(cgroup: &[u8]) -> impl Iterator<Item = Self> {
        let runs = cgroup.split(|byte| !byte.is_ascii_hexdigit());
        runs.filter_map(|run| Some(hash(b'c', run.get(..CONTAINER)?)))
    }
}

/// FNV-1a, folded to 32 bits.
fn hash(kind: u8, bytes: &[u8]) -> Term {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = std::iter::once(&kind).chain(bytes).fold(0xcbf2_9ce4_8422_2325, mix);
    Term(u32::try_from((hash ^ (hash >> 32)) & u64::from(u32::MAX)).unwrap_or_default())
}
