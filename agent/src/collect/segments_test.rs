use proptest::prelude::*;

use super::*;
use crate::text::Bytes;

const PAGE: u64 = 4096;

fn mapping(start: u64, pages: u64, exec: bool, inode: u64, path: &str) -> Mapping {
    Mapping {
        start: start * PAGE,
        end: (start + pages) * PAGE,
        read: true,
        write: !exec,
        exec,
        inode,
        path: Bytes::from(path),
        ..Mapping::default()
    }
}

fn run(start: u64, pages: u64, file: bool) -> PageRun {
    PageRun { start: start * PAGE, end: (start + pages) * PAGE, file }
}

fn shape(selection: &Selection) -> Vec<(Worth, u64, u64)> {
    selection
        .segments
        .iter()
        .map(|segment| (segment.worth, segment.start / PAGE, segment.len() / PAGE))
        .collect()
}

#[test]
fn what_exists_nowhere_else_comes_first() {
    let all = [
        (mapping(10, 4, true, 5, "/bin/x"), vec![run(10, 2, true), run(12, 1, false), run(13, 1, true)]),
        (mapping(30, 1, false, 0, "[heap]"), vec![run(30, 1, false)]),
        (mapping(40, 2, false, 0, ""), vec![run(40, 2, false)]),
        (mapping(50, 1, true, 0, ""), vec![run(50, 1, false)]),
        (mapping(60, 2, true, 9, "/memfd:a (deleted)"), vec![run(60, 2, true)]),
    ];
    assert_eq!(
        shape(&select(&all, PAGE, 1 << 30)),
        [
            (Worth::Header, 10, 1),
            (Worth::Header, 60, 1),
            (Worth::AnonymousExecutable, 50, 1),
            (Worth::AnonymousExecutable, 61, 1),
            (Worth::StackHeap, 30, 1),
            (Worth::Anonymous, 40, 2),
            (Worth::Modified, 12, 1),
            (Worth::File, 11, 1),
            (Worth::File, 13, 1),
        ]
    );
}

#[test]
fn small_gaps_of_anonymous_memory_are_bridged_with_zeros_and_large_ones_are_not() {
    let all =
        [(mapping(0, 1000, false, 0, ""), vec![run(0, 1, false), run(3, 1, false), run(900, 1, false)])];
    let selection = select(&all, PAGE, 1 << 30);
    assert_eq!(shape(&selection), [(Worth::Anonymous, 0, 4), (Worth::Anonymous, 900, 1)]);
    let zero: Vec<bool> = selection.segments[0].pieces.iter().map(|piece| piece.zero).collect();
    assert_eq!(zero, [false, true, false]);
}

#[test]
fn a_budget_cuts_off_the_least_worthy_and_says_so() {
    let all = [
        (mapping(0, 4, false, 0, ""), vec![run(0, 4, false)]),
        (mapping(10, 2, false, 0, "[stack]"), vec![run(10, 2, false)]),
    ];
    let selection = select(&all, PAGE, 3 * PAGE + 5);
    assert_eq!(shape(&selection), [(Worth::StackHeap, 10, 2), (Worth::Anonymous, 0, 1)]);
    assert_eq!(selection.bytes, 3 * PAGE);
    assert_eq!((selection.holes[0].start, selection.holes[0].end), (PAGE, 4 * PAGE));
}

proptest! {
    #[test]
    fn segments_have_no_gaps_and_keep_to_the_budget(
        runs in proptest::collection::vec((0_u64..500, 1_u64..20, any::<bool>()), 0..40),
        inode in 0_u64..2, budget in 0_u64..400,
    ) {
        let mut next = 0;
        let runs: Vec<PageRun> = runs.into_iter().map(|(gap, pages, file)| {
            let start = next + gap;
            next = start + pages;
            run(start, pages, file)
        }).collect();
        let all = [(mapping(0, next.max(1), false, inode, ""), runs)];
        let selection = select(&all, PAGE, budget * PAGE);
        prop_assert!(selection.bytes <= budget * PAGE);
        for segment in &selection.segments {
            let mut at = segment.start;
            for piece in &segment.pieces {
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.end > piece.start);
                at = piece.end;
            }
            prop_assert_eq!(at, segment.end);
        }
    }
}
