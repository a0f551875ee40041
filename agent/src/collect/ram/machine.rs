//! What the machine tells of its memory, before any of it is read.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use super::super::attempts::{Miss, read_bounded};
use crate::proc::{kallsyms, resources, system_ram};

/// `kallsyms` of a kernel with many modules has some 20 MiB.
const TEXT_MAX: u64 = 64 << 20;

/// Physical memory, and the kernel's place in it.
#[derive(Debug, Default)]
pub(in crate::collect) struct Machine {
    /// The memory, in order of addresses.
    pub(in crate::collect) ram: Vec<Range<u64>>,
    /// Where the kernel's code is in it.
    pub(in crate::collect) code: Option<u64>,
    /// Where the kernel finds its own code.
    pub(in crate::collect) text: Option<u64>,
    /// Where it keeps the address at which all memory is mapped in one piece.
    pub(in crate::collect) direct_map: Option<u64>,
    /// Where it keeps its banner.
    pub(in crate::collect) banner: Option<u64>,
}

impl Machine {
    /// Reads iomem and kallsyms below `proc`.
    pub(super) fn look(proc: &Path) -> Result<Self, Miss> {
        let iomem = resources(&read(proc, "iomem")?);
        let ram = system_ram(&iomem);
        if ram.is_empty() {
            let why = "/proc/iomem shows no address of any memory; CAP_SYS_ADMIN is needed to see them";
            return Err(Miss::refused(why));
        }
        let code = iomem.iter().find(|resource| resource.name.as_slice() == b"Kernel code");
        // Without the symbols /proc/kcore can still be read.
        let symbols = read(proc, "kallsyms").unwrap_or_default();
        let names = ["_text", "page_offset_base", "linux_banner"];
        let [text, direct_map, banner] = kallsyms::addresses(&symbols, names);
        Ok(Self { ram, code: code.map(|code| code.range.start), text, direct_map, banner })
    }
}

#[expect(clippy::disallowed_methods, reason = "it is in /proc, the kernel's")]
fn read(proc: &Path, name: &str) -> Result<Vec<u8>, Miss> {
    let read = File::open(proc.join(name)).and_then(|file| read_bounded(file, TEXT_MAX));
    read.map(|(text, _)| text)
        .map_err(|error| Miss::at(&format!("read /proc/{name}"), &error).of_the_living())
}

/// Why reading memory behind the kernel's back could harm: `meminfo` tells of pages that must not be touched.
pub(super) fn danger(meminfo: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(meminfo);
    let amount = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).filter(|value| !value.starts_with("0 ")).map(str::to_owned)
    };
    if let Some(amount) = amount("HardwareCorrupted") {
        return Some(format!(
            "{amount} of memory are broken, and reading them past the kernel could stop the machine"
        ));
    }
    let amount = amount("Unaccepted")?;
    Some(format!(
        "{amount} of memory were not accepted from the hypervisor yet, and reading them could stop the machine"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::bundle::Outcome;
    use super::*;

    #[test]
    fn broken_memory_is_a_danger() {
        let text =
            |corrupted: &str, rest: &str| format!("MemTotal: 1 kB\nHardwareCorrupted: {corrupted}\n{rest}");
        assert_eq!(danger(text("    0 kB", "").as_bytes()), None);
        assert_eq!(danger(text("    0 kB", "Unaccepted:     0 kB\n").as_bytes()), None);
        assert_eq!(danger(b""), None);
        assert!(danger(text("    4 kB", "").as_bytes()).unwrap().contains("4 kB"));
        assert!(danger(text("    0 kB", "Unaccepted:     8 kB\n").as_bytes()).unwrap().contains("8 kB"));
    }

    #[test]
    fn hidden_addresses_are_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let look = || Machine::look(folder.path());
        assert_eq!(look().unwrap_err().outcome, Outcome::Refused);
        std::fs::write(folder.path().join("iomem"), "00000000-00000000 : System RAM\n").unwrap();
        assert!(look().unwrap_err().detail.contains("CAP_SYS_ADMIN"));
        std::fs::write(folder.path().join("iomem"), "1000-1fff : System RAM\n  1000-17ff : Kernel code\n")
            .unwrap();
        let machine = look().unwrap();
        assert_eq!((machine.ram.len(), machine.code, machine.text), (1, Some(0x1000), None));
        std::fs::write(folder.path().join("kallsyms"), "ffffffff81000000 T _text\n").unwrap();
        assert_eq!(look().unwrap().text, Some(0xffff_ffff_8100_0000));
    }
}
