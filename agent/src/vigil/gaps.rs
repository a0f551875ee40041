//! What the recorder is blind to, since when. A gap is told when it begins, when it ends, and to every capture between.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::event::Gap;

/// Open gaps by their cause.
#[derive(Debug, Default)]
pub struct Gaps(BTreeMap<String, Gap>);

impl Gaps {
    /// A gap begins, or goes on: told once.
    pub fn open(&mut self, cause: &str, since: Timestamp, reason: String) -> Option<Gap> {
        if self.0.contains_key(cause) {
            return None;
        }
        let gap = Gap { since, reason };
        self.0.insert(cause.to_owned(), gap.clone());
        Some(Gap { reason: format!("{}; this goes on", gap.reason), ..gap })
    }

    /// It is over, if it was open.
    pub fn close(&mut self, cause: &str) -> Option<Gap> {
        let gap = self.0.remove(cause)?;
        Some(Gap { reason: format!("{}; this is over", gap.reason), ..gap })
    }

    /// Those that are open now.
    pub fn all(&self) -> impl Iterator<Item = &Gap> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_at_its_beginning_and_its_end_with_the_same_date() {
        let (mut gaps, since) = (Gaps::default(), Timestamp::from_second(7).unwrap());
        let begun = gaps.open("exec", since, "not seen".to_owned()).unwrap();
        assert_eq!((begun.since, begun.reason.as_str()), (since, "not seen; this goes on"));
        assert!(gaps.open("exec", Timestamp::now(), "again".to_owned()).is_none());
        assert_eq!(gaps.all().count(), 1);
        let over = gaps.close("exec").unwrap();
        assert_eq!((over.since, over.reason.as_str()), (since, "not seen; this is over"));
        assert!(gaps.close("exec").is_none() && gaps.all().next().is_none());
    }
}
