//! Names in a directory, read from the blocks of an ext4 file system: no file system code of the kernel's has a part in it.
//!
//! Directories are in the block device's own cache as soon as they change, but for what the journal has newer or older: what
//! is read may be some seconds old (`commit=`, 5 s unless mounted otherwise).

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ext4_view::{Ext4, Ext4Read};

use super::super::attempts::Miss;

/// Entries of one directory; of a larger one nothing is said.
const ENTRIES_MAX: usize = 100_000;

/// A file system on a block device, or in an image.
pub(super) struct Disk(Ext4);

struct Device(File);

impl Ext4Read for Device {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read_exact_at(dst, start_byte)?)
    }
}

impl Disk {
    /// What is on `device` now. It is looked at once: for a second look it is opened again.
    pub(super) fn open(device: File) -> Result<Self, Miss> {
        let loaded = Ext4::load(Box::new(Device(device)));
        loaded.map(Self).map_err(|error| Miss::refused(format!("read the file system: {error}")))
    }

    /// The names in the directory at `path`, from the file system's own root on.
    pub(super) fn names(&self, path: &[u8]) -> Result<BTreeSet<Vec<u8>>, Miss> {
        let failed = |error| Miss::refused(format!("read a directory from the disk: {error}"));
        let path =
            ext4_view::Path::try_from(path).map_err(|_| Miss::refused("a path that ext4 cannot have"))?;
        let mut names = BTreeSet::new();
        for entry in self.0.read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name: &[u8] = name.as_ref();
            if !matches!(name, b"." | b"..") && !names.insert(name.to_vec()) {
                return Err(Miss::refused("a directory on the disk has a name twice"));
            }
            if names.len() > ENTRIES_MAX {
                return Err(Miss::refused(format!("more than {ENTRIES_MAX} entries in one directory")));
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn image(folder: &std::path::Path, blocks: &str) -> std::path::PathBuf {
        let (from, image) = (folder.join("from"), folder.join("image"));
        let status = Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-N", "4096", "-d"])
            .args([&from, &image])
            .arg(blocks)
            .status()
            .expect("mke2fs (Debian package e2fsprogs)");
        assert!(status.success());
        image
    }

    #[test]
    fn the_disk_has_every_name_byte_for_byte() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("from/etc/deep");
        std::fs::create_dir_all(&deep).unwrap();
        let mut expected: BTreeSet<Vec<u8>> =
            (0..3000).map(|number| format!("file {number}").into_bytes()).collect();
        expected.extend([b"...".to_vec(), b"a\nb".to_vec(), b"\xff\xfe".to_vec(), b"trailing ".to_vec()]);
        for name in &expected {
            std::fs::write(deep.join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
        }
        let disk = Disk::open(File::open(image(folder.path(), "16M")).unwrap()).unwrap();
        assert_eq!(disk.names(b"/etc/deep").unwrap(), expected);
        assert_eq!(disk.names(b"/etc").unwrap(), BTreeSet::from([b"deep".to_vec()]));
        for path in [&b"/none"[..], b"relative", b"/etc/deep/file 1", b"", b"/\0"] {
            assert!(disk.names(path).is_err(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_ext4_or_cut_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("from")).unwrap();
        let whole = std::fs::read(image(folder.path(), "4M")).unwrap();
        let path = folder.path().join("broken");
        for length in [0, 1, 1024, 1100, 2048] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Disk::open(File::open(&path).unwrap()).is_err(), "{length}");
        }
        for at in [1024 + 0x38, 1024 + 0x60, 1024 + 0x18] {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            std::fs::write(&path, &broken).unwrap();
            assert!(Disk::open(File::open(&path).unwrap()).is_err(), "{at}");
        }
    }
}
