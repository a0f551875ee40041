//! Whether a file stayed what it was while it was read.

use std::fs::File;

use crate::bundle::Outcome;
use crate::collect::attempts::Miss;
use crate::collect::system::{Attributes, statx};

/// A file that is about to be read, and what it was before.
#[derive(Debug)]
pub(in crate::collect) struct Stays {
    file: Option<File>,
    before: Attributes,
}

impl Stays {
    pub(in crate::collect) fn new(file: &File, before: &Attributes) -> Self {
        Self { file: file.try_clone().ok(), before: *before }
    }

    /// What happened to it, as a remark: what was taken is what was there when its turn to be read came.
    pub(in crate::collect) fn remark(&self) -> Option<Miss> {
        let after = statx(self.file.as_ref()?, c"").ok()?;
        words(&self.before, &after).map(|words| Miss::new(Outcome::Ok, words))
    }
}

fn words(before: &Attributes, after: &Attributes) -> Option<String> {
    const WRITTEN: usize = 1;
    if after.size > before.size {
        let (was, is) = (before.size, after.size);
        return Some(format!(
            "it grew while it was read, to {is} bytes; the first {was} are what is looked at"
        ));
    }
    if after.size < before.size {
        return Some(format!("it was made shorter while it was read, to {} bytes", after.size));
    }
    (after.times[WRITTEN] != before.times[WRITTEN]).then(|| "it was written to while it was read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_told_from_one_that_stays() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let old = Attributes { times: [Some((1, 0)); 4], ..statx(&file, c"").unwrap() };
        let stays = Stays::new(&file, &statx(&file, c"").unwrap());
        assert_eq!(stays.remark(), None);
        file.set_len(20).unwrap();
        let remark = stays.remark().unwrap();
        assert!(remark.outcome == Outcome::Ok && remark.detail.contains("to 20 bytes"), "{}", remark.detail);
        file.set_len(5).unwrap();
        assert!(stays.remark().unwrap().detail.contains("shorter"));
        file.set_len(10).unwrap();
        assert!(Stays::new(&file, &old).remark().unwrap().detail.contains("written to"));
        // Only its name, mode or owner changed.
        let changed = Attributes { times: [Some((1, 0)), Some((1, 0)), Some((2, 0)), None], ..old };
        assert_eq!(words(&old, &changed), None);
    }
}
