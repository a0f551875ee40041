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

fn choose(mappings: &[(Mapping, Vec<PageRun>)], budget: u64) -> Selection {
    select(mappings, Choice { page: PAGE, budget, file_pages: u64::MAX, stacks: &[] })
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
        shape(&choose(&all, 1 << 30)),
        [
            (Worth::Header, 10, 1),
            (Worth::Header, 60, 1),
            (Worth::AnonymousExecutable, 50, 1),
            (Worth::AnonymousExecutable, 61, 1),
            (Worth::Private, 30, 1),
            (Worth::Private, 40, 2),
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
    let selection = choose(&all, 1 << 30);
    assert_eq!(shape(&selection), [(Worth::Private, 0, 4), (Worth::Private, 900, 1)]);
    let zero: Vec<bool> = selection.segments[0].pieces.iter().map(|piece| piece.zero).collect();
    assert_eq!(zero, [false, true, false]);
}

#[test]
fn a_budget_cuts_off_the_least_worthy_and_says_so() {
    let all = [
        (mapping(0, 4, false, 0, ""), vec![run(0, 4, false)]),
        (mapping(10, 2, false, 0, "[stack]"), vec![run(10, 2, false)]),
    ];
    let selection = choose(&all, 3 * PAGE + 5);
    assert_eq!(shape(&selection), [(Worth::Stack, 10, 2), (Worth::Private, 0, 1)]);
    assert_eq!(selection.bytes, 3 * PAGE);
    assert_eq!((selection.holes[0].start, selection.holes[0].end), (PAGE, 4 * PAGE));
}

#[test]
fn the_order_is_what_nobody_else_has_then_what_explains_it() {
    let hidden = Mapping { read: false, write: false, ..mapping(70, 1, false, 0, "") };
    let shared = Mapping { shared: true, offset: PAGE, ..mapping(80, 1, false, 3, "/dev/shm/x (deleted)") };
    let all = [
        (shared, vec![run(80, 1, true)]),
        (mapping(30, 1, false, 0, "[heap]"), vec![run(30, 1, false)]),
        (mapping(40, 4, false, 0, ""), vec![run(40, 4, false)]),
        (mapping(90, 1, false, 0, "[stack]"), vec![run(90, 1, false)]),
        (hidden, vec![run(70, 1, false)]),
        (mapping(50, 1, true, 0, ""), vec![run(50, 1, false)]),
    ];
    // The stack of a second thread is in a mapping that looks like any other.
    let choice =
        Choice { page: PAGE, budget: u64::MAX, file_pages: 0, stacks: &[42 * PAGE + 8, 90 * PAGE + 8] };
    assert_eq!(
        shape(&select(&all, choice)),
        [
            (Worth::AnonymousExecutable, 50, 1),
            (Worth::Unreachable, 70, 1),
            (Worth::Stack, 40, 4),
            (Worth::Stack, 90, 1),
            (Worth::Private, 30, 1),
            (Worth::Shared, 80, 1),
        ]
    );
}

#[test]
fn pages_that_are_in_their_file_too_have_a_budget_of_their_own() {
    let all = [
        (mapping(10, 4, true, 5, "/bin/x"), vec![run(10, 4, true)]),
        (mapping(20, 4, true, 6, "/bin/y"), vec![run(20, 1, false), run(21, 3, true)]),
        (mapping(40, 2, false, 0, ""), vec![run(40, 2, false)]),
    ];
    let choice = Choice { page: PAGE, budget: u64::MAX, file_pages: 2 * PAGE, stacks: &[] };
    let selection = select(&all, choice);
    let kept =
        [(Worth::Header, 10, 1), (Worth::Header, 20, 1), (Worth::Private, 40, 2), (Worth::File, 11, 2)];
    assert_eq!(shape(&selection), kept);
    let holes: Vec<(u64, u64)> =
        selection.holes.iter().map(|hole| (hole.start / PAGE, hole.end / PAGE)).collect();
    assert_eq!(holes, [(13, 14), (21, 24)]);
    assert!(selection.holes.iter().all(|hole| hole.why == IN_FILE));
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
        let selection = choose(&all, budget * PAGE);
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
