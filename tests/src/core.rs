//! ELF cores, read by a reader that shares nothing with the one that wrote them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A core: which pages it holds, and where in the file each is.
pub struct Core {
    file: File,
    pages: BTreeMap<u64, u64>,
    /// Program headers that load something.
    pub segments: usize,
}

impl Core {
    /// Reads the headers.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0)?;
        ensure!(head.starts_with(b"\x7fELF\x02\x01\x01"), "{} is no ELF file of 64 bits", path.display());
        let (programs, sections) = (number(&head, 32, 8), number(&head, 40, 8));
        let mut count = number(&head, 56, 2);
        if count == 0xffff {
            let mut section = [0; 64];
            file.read_exact_at(&mut section, sections)?;
            count = number(&section, 44, 4);
        }
        let mut headers = vec![0; usize::try_from(count)? * 56];
        file.read_exact_at(&mut headers, programs)?;
        let (mut pages, mut segments) = (BTreeMap::new(), 0);
        for header in headers.chunks(56).filter(|header| number(header, 0, 4) == 1) {
            segments += 1;
            let (offset, address, size) =
                (number(header, 8, 8), number(header, 16, 8), number(header, 32, 8));
            for at in (0..size).step_by(PAGE) {
                ensure!(
                    pages.insert(address + at, offset + at).is_none(),
                    "{:#x} is there twice",
                    address + at
                );
            }
        }
        Ok(Self { file, pages, segments })
    }

    /// Addresses of its pages.
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// How many pages it has.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The page at an address, if it is there.
    pub fn page(&self, address: u64) -> Result<Option<[u8; PAGE]>> {
        let Some(&offset) = self.pages.get(&address) else { return Ok(None) };
        let mut page = [0; PAGE];
        self.file.read_exact_at(&mut page, offset).with_context(|| format!("page {address:#x}"))?;
        Ok(Some(page))
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes.iter().skip(at).take(length).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What gdb says of each thread: its frames by its number in the kernel.
pub fn frames(said: &str) -> BTreeMap<u64, Vec<String>> {
    let mut threads = BTreeMap::new();
    let mut current = None;
    for line in said.lines() {
        if line.starts_with("Thread ") {
            let number =
                line.split("LWP ").nth(1).and_then(|rest| rest.split([')', ' ']).next()?.parse().ok());
            current = number;
        } else if line.starts_with('#')
            && let Some(thread) = current
        {
            threads.entry(thread).or_insert_with(Vec::new).push(line.to_owned());
        }
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_belong_to_the_thread_above_them() {
        let said = "[Current thread is 1]\n#0 alone\n\nThread 2 (Thread 0x7f (LWP 12)):\n#0 a\n#1 b\n\nThread 1 (LWP 11):\n#0 c\n";
        let threads = frames(said);
        assert_eq!(threads.get(&12).map(Vec::as_slice), Some(&["#0 a".to_owned(), "#1 b".to_owned()][..]));
        assert_eq!(threads.get(&11).map(Vec::len), Some(1));
    }

    #[test]
    fn what_is_no_core_is_refused() {
        assert!(Core::open(Path::new("/dev/zero")).is_err());
        assert!(Core::open(Path::new("/nowhere")).is_err());
    }
}
