use std::io::Write;

use super::*;
use crate::bundle::Outcome;

/// A folder with a file `kcore` of two pieces: a kernel's code of 0x1000 bytes `c`, and memory from 0x2000 to 0x4000 with
/// bytes `m`, of which the file has only the first 0x1000.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for field in [0_u64, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, fields) in [
        (4_u64, [0x100_u64, 0, 0, 20]),
        (1, [0x1000, 0xffff_ffff_8100_0000, 0x5000, 0x1000]),
        (1, [0x2000, 0xffff_8880_0000_2000, 0x2000, 0x2000]),
    ] {
        bytes.extend(kind.to_le_bytes());
        for field in fields.into_iter().chain([0, 0]) {
            bytes.extend(field.to_le_bytes());
        }
    }
    bytes.resize(0x100, 0);
    bytes.extend(b"\x01\0\0\0\x04\0\0\0\0\0\0\0x\0\0\0abcd");
    bytes.resize(0x1000, 0);
    bytes.extend([b'c'; 0x1000]);
    bytes.extend([b'm'; 0x1000]);
    File::create(folder.path().join("kcore")).unwrap().write_all(&bytes).unwrap();
    folder
}

#[test]
fn memory_is_found_by_both_kinds_of_address() {
    let folder = folder();
    let source = Source::kcore(folder.path()).unwrap();
    assert_eq!(source.way(), "kcore");
    assert_eq!(source.readable().unwrap(), [0x2000..0x4000, 0x5000..0x6000]);
    let mut buffer = [0; 16];
    source.read(0x2ff0, &mut buffer).unwrap();
    assert_eq!(buffer, [b'm'; 16]);
    source.read_kernel(0xffff_ffff_8100_0800, &mut buffer).unwrap();
    assert_eq!(buffer, [b'c'; 16]);
    assert!(source.notes().unwrap().unwrap().ends_with(b"abcd"));
}

#[test]
fn what_is_not_there_is_an_error() {
    let folder = folder();
    let source = Source::kcore(folder.path()).unwrap();
    let mut buffer = [0; 16];
    for address in [0, 0x1ff8, 0x3ff8, 0x4000, 0x5ff8, u64::MAX] {
        assert_eq!(
            source.read(address, &mut buffer).unwrap_err().to_string(),
            "not in /proc/kcore",
            "{address:#x}"
        );
    }
    assert_eq!(source.read(0x3000, &mut buffer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn no_core_is_a_refusal_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let words = |bytes: Option<&[u8]>| {
        if let Some(bytes) = bytes {
            std::fs::write(folder.path().join("kcore"), bytes).unwrap();
        }
        let miss = Source::kcore(folder.path()).unwrap_err();
        assert_eq!(miss.outcome, Outcome::Refused);
        miss.detail
    };
    assert!(words(None).contains("this kernel does not have it"));
    assert!(words(Some(b"")).contains("ends within its headers"));
    assert!(words(Some(&vec![b'x'; 100_000])).contains("not a 64-bit"));
    let mut endless = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0".to_vec();
    endless.resize(36, 0);
    endless.push(1);
    endless.resize(54, 0);
    endless.extend([56, 0, 0xff, 0xff]);
    endless.resize(8 << 20, 0xff);
    assert!(words(Some(&endless)).contains("ends within"), "headers that begin nowhere");
    std::fs::remove_file(folder.path().join("kcore")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("kcore"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(!words(None).is_empty(), "a pipe without a writer is not waited for");
}

#[test]
fn without_its_symbols_the_probe_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let probe = || Source::probe(&Machine::default(), folder.path()).unwrap_err().detail;
    assert!(probe().contains("meminfo"));
    std::fs::write(folder.path().join("meminfo"), "HardwareCorrupted:  4 kB\n").unwrap();
    assert!(probe().contains("broken"));
    std::fs::write(folder.path().join("meminfo"), "HardwareCorrupted:  0 kB\n").unwrap();
    assert!(probe().contains("hidden"));
}
