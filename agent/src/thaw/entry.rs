//! Whether a stopped process has run at all: it stands at its entry point, of itself or of its dynamic loader.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Keys of the auxiliary vector (getauxval(3)).
const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;
/// `e_entry` of an ELF file of 64 bits (elf(5)).
const ENTRY_AT: u64 = 24;

/// Whether the next instruction of the process in `folder` is its first.
pub(super) fn stands_at_its_entry(folder: &Path) -> bool {
    let Some(next) = fs::read(folder.join("syscall")).ok().and_then(|text| next_instruction(&text)) else {
        return false;
    };
    let Ok(vector) = fs::read(folder.join("auxv")) else { return false };
    if auxiliary(&vector, AT_ENTRY) == Some(next) {
        return true;
    }
    auxiliary(&vector, AT_BASE).and_then(|base| loader_entry(folder, base)) == Some(next)
}

fn loader_entry(folder: &Path, base: u64) -> Option<u64> {
    let mut entry = [0; 8];
    let memory = File::open(folder.join("mem")).ok()?;
    memory.read_exact_at(&mut entry, base.checked_add(ENTRY_AT)?).ok()?;
    base.checked_add(u64::from_ne_bytes(entry))
}

/// The last number of `/proc/PID/syscall` (proc(5)); `None` for a process that runs.
fn next_instruction(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let last = text.split_ascii_whitespace().next_back()?;
    u64::from_str_radix(last.strip_prefix("0x")?, 16).ok()
}

/// The value of `key` in an auxiliary vector.
fn auxiliary(vector: &[u8], key: u64) -> Option<u64> {
    let mut pairs = vector.chunks_exact(16).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(8)?;
        Some((u64::from_ne_bytes(name.try_into().ok()?), u64::from_ne_bytes(value.try_into().ok()?)))
    });
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::held::Held;

    #[test]
    fn a_program_before_its_first_instruction_stands_at_its_entry() {
        let held = Held::spawn(Path::new("/bin/true")).unwrap();
        assert!(stands_at_its_entry(Path::new(&format!("/proc/{}", held.pid()))));
        held.kill().unwrap();
    }

    #[test]
    fn one_that_runs_does_not() {
        assert!(!stands_at_its_entry(Path::new("/proc/self")));
        assert!(!stands_at_its_entry(Path::new("/proc/none")));
    }

    #[test]
    fn texts_that_say_nothing_are_no_answer() {
        assert_eq!(next_instruction(b"59 0x1 0x2 0x3 0x4 0x5 0x6 0x7ffc 0x401000\n"), Some(0x0040_1000));
        assert_eq!(next_instruction(b"-1 0x7ffc 0x401000\n"), Some(0x0040_1000));
        for text in [&b"running\n"[..], b"", b"0x", b"1 2 3", b"\xff", b"0x11111111111111111"] {
            assert_eq!(next_instruction(text), None, "{text:?}");
        }
        let pairs = [7_u64, 70, 9, 90].map(u64::to_ne_bytes).concat();
        assert_eq!((auxiliary(&pairs, AT_ENTRY), auxiliary(&pairs, 8)), (Some(90), None));
        assert_eq!(auxiliary(pairs.get(..31).unwrap(), AT_ENTRY), None);
    }
}
