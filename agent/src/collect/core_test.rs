use super::*;
use crate::collect::segments::{Piece, Worth};
use crate::text::Bytes;

fn segment(start: u64, pages: u64) -> Segment {
    let end = start + pages * 4096;
    let pieces = vec![Piece { start, end, zero: false }];
    Segment { start, end, flags: 6, worth: Worth::Anonymous, pieces }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn core(comm: &str, command_line: &[u8], segments: &[Segment]) -> Vec<u8> {
    let line = format!("7 ({comm}) S 1 7 7 0 -1 0 0 0 0 0 250 3 0 0 20 0 1 0 9 0 0");
    let stat = Stat::parse(line.as_bytes()).unwrap();
    let mapping =
        Mapping { start: 4096, end: 8192, inode: 3, path: Bytes::from("/a\\012b"), ..Mapping::default() };
    let subject = Subject {
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
        let bytes = core(comm, command_line, &[]);
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
        let status = 112 + REGISTERS + 8;
        let files = 16 + 24 + b"/a\\012b\0".len();
        assert_eq!(found, [(NT_PRSTATUS, status), (NT_PRPSINFO, 136), (NT_AUXV, 16), (NT_FILE, files)]);
    }
}
