//! Two lists of the same things, read by turns. What is in two looks at one list, under a name that is not used again, was
//! there when the other was read in between.

use std::collections::BTreeSet;
use std::fs::{DirEntry, File};
use std::path::Path;
use std::time::Duration;

use super::super::attempts::{Miss, read_bounded};

/// Between two looks that do not agree: whatever was in the middle of coming or going has come or gone.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// What is in every one of `shown` and in none of `lists`.
pub(super) fn missing<K: Ord + Clone>(shown: &[&BTreeSet<K>], lists: &[&BTreeSet<K>]) -> BTreeSet<K> {
    let Some((first, rest)) = shown.split_first() else { return BTreeSet::new() };
    let stays =
        |key: &&K| rest.iter().all(|look| look.contains(key)) && !lists.iter().any(|list| list.contains(key));
    first.iter().filter(stays).cloned().collect()
}

/// A text of the kernel's own, below /proc or /sys.
#[expect(clippy::disallowed_methods, reason = "the kernel's own files")]
pub(super) fn kernels_own(path: &Path, most: u64) -> Result<Vec<u8>, Miss> {
    let file = File::open(path).map_err(|error| Miss::at(&format!("open {}", path.display()), &error))?;
    let (bytes, whole) =
        read_bounded(file, most).map_err(|error| Miss::at(&format!("read {}", path.display()), &error))?;
    if whole { Ok(bytes) } else { Err(Miss::partial(format!("{}: more than {most} bytes", path.display()))) }
}

/// The entries of a directory of the kernel's own, below /sys or in a BPF file system.
#[expect(clippy::disallowed_methods, reason = "the kernel's own directories")]
pub(super) fn kernels_entries(path: &Path) -> Option<Vec<DirEntry>> {
    Some(std::fs::read_dir(path).ok()?.flatten().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(keys: &[u32]) -> BTreeSet<u32> {
        keys.iter().copied().collect()
    }

    #[test]
    fn only_what_is_always_in_one_and_never_in_the_other_is_missing() {
        let found = missing(&[&set(&[1, 2, 3]), &set(&[2, 3])], &[&set(&[1]), &set(&[1, 2])]);
        assert_eq!(found, set(&[3]));
    }

    #[test]
    fn what_comes_goes_or_is_seen_once_is_not() {
        for (shown, lists) in [
            // It came after the first look, or went before the last.
            ([set(&[]), set(&[7])], [set(&[]), set(&[])]),
            ([set(&[7]), set(&[])], [set(&[]), set(&[])]),
            // One of the lists has it.
            ([set(&[7]), set(&[7])], [set(&[7]), set(&[])]),
            ([set(&[7]), set(&[7])], [set(&[]), set(&[7])]),
            // Both views are the same, or there is nothing.
            ([set(&[7]), set(&[7])], [set(&[7]), set(&[7])]),
            ([set(&[]), set(&[])], [set(&[7]), set(&[7])]),
            ([set(&[]), set(&[])], [set(&[]), set(&[])]),
        ] {
            let found = missing(&[&shown[0], &shown[1]], &[&lists[0], &lists[1]]);
            assert_eq!(found, set(&[]), "{shown:?} {lists:?}");
        }
        assert_eq!(missing(&[], &[&set(&[1])]), set(&[]));
    }

    proptest! {
        #[test]
        fn nothing_is_missing_from_a_list_that_has_it(
            shown: [BTreeSet<u8>; 2], lists: [BTreeSet<u8>; 2]
        ) {
            for key in missing(&[&shown[0], &shown[1]], &[&lists[0], &lists[1]]) {
                prop_assert!(shown.iter().all(|look| look.contains(&key)));
                prop_assert!(!lists.iter().any(|list| list.contains(&key)));
            }
        }
    }
}
