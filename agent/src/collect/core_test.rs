use super::*;
use crate::collect::segments::{Piece, Worth};
use crate::text::Bytes;

fn segment(start: u64, pages: u64) -> Segment {
    let end = start + pages * 4096;
    let pieces = vec![Piece { start, end, zero: false }];
    Segment { start, end, flags: 6, worth: Worth::Private, pieces }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn core(comm: &str, command_line: &[u8], segments: &[Segment]) -> Vec<u8> {
    core_of(Machine::OURS, comm, command_line, segments)
}

fn core_of(machine: Machine, comm: &str, command_line: &[u8], segments: &[Segment]) -> Vec<u8> {
    let line = format!("7 ({comm}) S 1 7 7 0 -1 0 0 0 0 0 250 3 0 0 20 0 1 0 9 0 0");
    let stat = Stat::parse(line.as_bytes()).unwrap();
    let mapping =
        Mapping { start: 4096, end: 8192, inode: 3, path: Bytes::from("/a\\012b"), ..Mapping::default() };
    let subject = Subject {
        machine,
        stat: &stat,
        uid: 1,
        gid: 2,
        command_line,
        auxv: &[0; 16],
        mappings: &[mapping],
        threads: &[Thread { tid: 7, ..Thread::default() }],
        page: 4096,
    };
    head(&subject, segments)
}

#[test]
fn program_headers_stand_by_address_and_bytes_by_worth() {
    let bytes = core("x", b"x\0", &[segment(0x9000, 2), segment(0x1000, 1)]);
    assert_eq!(bytes.len() % 4096, 0);
    let loads: Vec<(u64, u64, u64)> = [1, 2]
        .map(|at| EHDR + at * PHDR)
        .map(|at| (u64_at(&bytes, at + 16), u64_at(&bytes, at + 8), u64_at(&bytes, at + 32)))
        .to_vec();
    let first = u64::try_from(bytes.len()).unwrap();
    assert_eq!(loads, [(0x1000, first + 2 * 4096, 4096), (0x9000, first, 2 * 4096)]);
}

#[test]
fn notes_have_the_kernels_sizes_whatever_the_names() {
    for (comm, command_line) in
        [("", &b""[..]), ("a) b) c", b"\0\0\0"), ("sixteen bytes and more", &[b'a'; 300])]
    {
        for (machine, registers) in [(Machine::X86_64, 216), (Machine::Aarch64, 272)] {
            let bytes = core_of(machine, comm, command_line, &[]);
            let (offset, size) = (u64_at(&bytes, EHDR + 8), u64_at(&bytes, EHDR + 32));
            let notes = &bytes[usize::try_from(offset).unwrap()..usize::try_from(offset + size).unwrap()];
            let mut at = 0;
            let mut found = Vec::new();
            while at < notes.len() {
                let word = |at: usize| u32::from_ne_bytes(notes[at..at + 4].try_into().unwrap());
                let length = usize::try_from(word(at + 4)).unwrap();
                found.push((word(at + 8), length));
                at += 20 + length.next_multiple_of(4);
            }
            assert_eq!(at, notes.len());
            let status = 112 + registers + 8;
            let files = 16 + 24 + b"/a\\012b\0".len();
            assert_eq!(found, [(NT_PRSTATUS, status), (NT_PRPSINFO, 136), (NT_AUXV, 16), (NT_FILE, files)]);
        }
    }
}

/// With one more than fit into 16 bits, binutils must still find them all.
#[test]
fn more_segments_than_the_header_can_count_are_counted_in_a_section_header() {
    for (count, extended) in [(65_533, false), (65_534, true), (70_000, true)] {
        let segments: Vec<Segment> = (1..=count).map(|number| segment(number * 8192, 1)).collect();
        let bytes = core("x", b"x\0", &segments);
        let u16_at = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(u16_at(56) == PN_XNUM, extended, "{count}");
        let loads = usize::try_from(count).unwrap() + 1;
        if extended {
            let section = usize::try_from(u64_at(&bytes, 40)).unwrap();
            assert_eq!(section, EHDR + PHDR * loads);
            assert_eq!((u16_at(58), u16_at(60)), (64, 1));
            let information = &bytes[section + 44..section + 48];
            assert_eq!(u32::from_ne_bytes(information.try_into().unwrap()), u32::try_from(loads).unwrap());
        } else {
            assert_eq!((u16_at(56), u64_at(&bytes, 40)), (u16::try_from(loads).unwrap(), 0));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core");
        std::fs::write(&path, &bytes).unwrap();
        let output =
            std::process::Command::new("readelf").arg("-lW").arg(&path).output().expect("readelf is needed");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("LOAD ")).count() + 1, loads);
    }
}

#[test]
fn a_stack_pointer_is_where_each_machine_keeps_it() {
    for (machine, number) in [(Machine::X86_64, 19), (Machine::Aarch64, 31)] {
        let registers: Vec<u8> = (0..34_u64).flat_map(u64::to_ne_bytes).collect();
        let thread = Thread { registers, ..Thread::default() };
        assert_eq!(thread.stack_pointer(machine), Some(number));
        assert_eq!(Thread::default().stack_pointer(machine), None);
    }
}
