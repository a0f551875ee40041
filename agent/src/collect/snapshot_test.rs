use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const PAGE: usize = 4096;

/// The test's own memory, in which each page holds one number; a page of 0 holds nothing.
fn memory(pages: &[u8]) -> Vec<u8> {
    pages.iter().flat_map(|number| [*number; PAGE]).collect()
}

fn whole(memory: &[u8]) -> Vec<Block> {
    let start = u64::try_from(memory.as_ptr().expose_provenance()).unwrap();
    let blocks = memory.chunks(BLOCK).enumerate().map(|(number, part)| Block {
        start: start + u64::try_from(number * BLOCK).unwrap(),
        length: part.len(),
        kept: Kept::Live,
    });
    blocks.collect()
}

fn own() -> Source {
    Source::new(File::open("/proc/self/mem").unwrap(), PAGE)
}

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn expand(store: &Store, block: &Block) -> Option<Vec<u8>> {
    let mut out = vec![0xee; block.length];
    match &block.kept {
        Kept::Zero => out.fill(0),
        Kept::Live => return None,
        Kept::Copied { log, place, zeros } => {
            store.expand(*log, *place, zeros.as_deref(), PAGE, &mut out).unwrap();
        }
    }
    Some(out)
}

fn spool(folder: &tempfile::TempDir, bytes: u64) -> Spool {
    Spool::in_directory(File::open(folder.path()).unwrap().as_fd(), threads(), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_copy_gives_back_what_was_there_whether_in_memory_or_on_disk(
        pages in proptest::collection::vec(0_u8..3, 1..900), in_memory in 0_u64..4, on_disk in 0_u64..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let memory = memory(&pages);
        let mut blocks = whole(&memory);
        let mut store = Store::prepare(u64::MAX, in_memory << 20, &Pool::default(), &spool(&folder, on_disk << 20));
        let copied = store.copy(&mut blocks, &own(), later());
        let mut live = 0;
        for (block, bytes) in blocks.iter().zip(memory.chunks(BLOCK)) {
            match expand(&store, block) {
                Some(kept) => prop_assert!(kept == bytes),
                None => live += u64::try_from(block.length).unwrap(),
            }
        }
        let all = u64::try_from(memory.len()).unwrap();
        prop_assert_eq!(copied.bytes + live, all);
        prop_assert_eq!(copied.memory + copied.spooled + copied.zeros, copied.bytes);
        prop_assert!(copied.memory <= in_memory << 20 && copied.spooled <= on_disk << 20);
    }
}

#[test]
fn pages_of_zeros_take_no_room() {
    let mut pages = vec![0; 4000];
    pages[3999] = 1;
    let memory = memory(&pages);
    let mut blocks = whole(&memory);
    let mut store = Store::prepare(u64::MAX, 2 << 20, &Pool::default(), &Spool::default());
    let copied = store.copy(&mut blocks, &own(), later());
    assert_eq!((copied.bytes, copied.memory), (4000 * 4096, 4096));
    assert!(
        blocks.iter().zip(memory.chunks(BLOCK)).all(|(block, bytes)| expand(&store, block).unwrap() == bytes)
    );
}

#[test]
fn nothing_is_copied_once_the_time_is_over_or_without_any_room() {
    let memory = memory(&[1; 300]);
    for (room, until) in [(8 << 20, Instant::now()), (0, later())] {
        let mut blocks = whole(&memory);
        let mut store = Store::prepare(u64::MAX, room, &Pool::default(), &Spool::default());
        assert_eq!(store.copy(&mut blocks, &own(), until).bytes, 0);
        assert!(blocks.iter().all(|block| matches!(block.kept, Kept::Live)));
        assert_eq!(store.is_empty(), room == 0);
    }
}

#[test]
fn what_cannot_be_read_is_zeros_and_said_in_order() {
    let memory = memory(&[7; 2]);
    let mut blocks = whole(&memory);
    // Nothing is mapped at the first pages.
    blocks.insert(0, Block { start: 4096, length: 2 * PAGE, kept: Kept::Live });
    let mut store = Store::prepare(u64::MAX, 8 << 20, &Pool::default(), &Spool::default());
    let copied = store.copy(&mut blocks, &own(), later());
    let ranges: Vec<(u64, u64)> = copied.unreadable.iter().map(|range| (range.start, range.end)).collect();
    assert_eq!(ranges, [(4096, 8192), (8192, 12288)]);
    assert_eq!(expand(&store, &blocks[0]).unwrap(), vec![0; 2 * PAGE]);
    assert_eq!(expand(&store, &blocks[1]).unwrap(), memory);
}
