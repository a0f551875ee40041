//! Which file, in which state.

use serde::{Deserialize, Serialize};

use crate::system::process::Attributes;

/// One state of one file: any write changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileState {
    /// Device of the file system, major and minor.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// The inode's last change: seconds and nanoseconds since 1970.
    pub changed: Option<(i64, u32)>,
}

/// Which file, in whatever state: its device as an exec record shows it (major << 20 | minor), and its inode.
pub type FileId = (u32, u64);

impl FileState {
    /// The state in these attributes.
    pub(crate) fn of(attributes: &Attributes) -> Self {
        let Attributes { device, inode, size, .. } = *attributes;
        Self { device, inode, size, changed: attributes.changed() }
    }

    /// Which file it is the state of.
    pub fn file(&self) -> FileId {
        let (major, minor) = self.device;
        (major.wrapping_shl(20) | minor & 0xf_ffff, self.inode)
    }
}
