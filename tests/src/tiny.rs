//! Programs of some 150 bytes, each a file of its own: they unlink themselves first, then exit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// One of them.
#[derive(Clone, Debug)]
pub struct Tiny {
    /// Where it lies, until it runs.
    pub path: PathBuf,
    /// What it exits with.
    pub code: u8,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Tiny {
    /// Writes number `number` into `folder`.
    pub fn write(folder: &Path, number: u32) -> Result<Self> {
        Self::make(folder, number, UNLINK)
    }

    /// The same, of a program that stays where it is.
    pub fn lasting(folder: &Path, number: u32) -> Result<Self> {
        // getpid takes no arguments and does no harm.
        Self::make(folder, number, GETPID)
    }

    fn make(folder: &Path, number: u32, first: u8) -> Result<Self> {
        let code = u8::try_from(number % 251)?;
        let content = elf(number, code, first);
        let path = folder.join(number.to_string());
        fs::write(&path, &content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { path, code, sha256: hex(&content) })
    }
}

/// The SHA-256 of these bytes in hexadecimal.
pub fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long each of them is.
pub const BYTES: usize = HEADERS + CODE + 4;
const HEADERS: usize = 64 + 56;
const CODE: usize = 24;
const BASE: u64 = 0x40_0000;

/// System calls of x86-64.
const UNLINK: u8 = 87;
const GETPID: u8 = 39;

/// `first`(argv[0]); exit(code); then the number, so that no two are equal (elf(5)).
fn elf(number: u32, code: u8, first: u8) -> Vec<u8> {
    let (entry, size) = (BASE + HEADERS as u64, BYTES as u64);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // An executable for x86-64.
    file.extend([2, 0, 0x3e, 0, 1, 0, 0, 0]);
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // Flags; sizes of the headers; one program header, no sections.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // Load all of it, to be read and executed.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    // mov rdi, [rsp+8]; mov eax, first; syscall
    file.extend([0x48, 0x8b, 0x7c, 0x24, 0x08, 0xb8, first, 0, 0, 0, 0x0f, 0x05]);
    // mov edi, code; mov eax, 60 (exit); syscall
    file.extend([0xbf, code, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    file.extend(number.to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_but_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Tiny::write(folder.path(), 7).unwrap(), Tiny::write(folder.path(), 300).unwrap());
        assert_eq!(fs::read(&one.path).unwrap().len(), BYTES);
        assert_ne!(one.sha256, two.sha256);
        for tiny in [one, two] {
            let status = std::process::Command::new(&tiny.path).status().unwrap();
            assert_eq!(status.code(), Some(i32::from(tiny.code)));
            assert!(!tiny.path.exists());
        }
        let lasting = Tiny::lasting(folder.path(), 7).unwrap();
        let status = std::process::Command::new(&lasting.path).status().unwrap();
        assert!(status.code() == Some(7) && lasting.path.exists());
    }
}
