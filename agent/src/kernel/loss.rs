//! What was lost: counted in the kernel by cpu and kind, and by the numbers that never came.

use std::collections::BTreeMap;

use afterimage_ebpf::kind;
use jiff::Timestamp;
use serde::Serialize;

use crate::event::Loss;

/// Records since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// By kind: `exec`, `fork`, ...
    pub kinds: BTreeMap<&'static str, KindCounts>,
    /// Happenings that deserved a record.
    pub attempted: u64,
    /// Records that went into the ring.
    pub submitted: u64,
    /// Records decoded into events.
    pub decoded: u64,
    /// Everything lost: ring full, nested, undecodable, not kept while the self-check went on.
    pub lost: u64,
    /// Whether the kernel told its counters; if not, nothing is known of what was lost.
    pub known: bool,
    /// Times the kernel skipped a program that was already running on that cpu, anywhere on the machine.
    pub skipped: u64,
}

/// Records of one kind since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindCounts {
    /// Happenings that deserved a record.
    pub attempted: u64,
    /// Records that went into the ring.
    pub submitted: u64,
    /// Those that did not: the ring was full, or another record was being built on that cpu.
    pub lost: u64,
}

/// What the kernel counted on one cpu for one kind: attempted, ring full, nested.
pub(super) type Cell = [u64; 3];

/// What was already reported.
#[derive(Default)]
pub(super) struct Ledger {
    told: BTreeMap<(&'static str, usize, usize), u64>,
    since: Timestamp,
    /// By cpu: records that came, the highest number among them, and how many numbers were missing at the last look.
    numbers: BTreeMap<u32, Numbers>,
    /// Records that could be decoded.not be decoded.
    pub(super) undecodable: u64,
    /// Events that were too many to be kept while the self-check went on.
    pub(super) unkept: u64,
    /// Records that could be decoded.
    decoded: u64,
}

#[derive(Clone, Copy, Default)]
struct Numbers {
    came: u64,
    next: u64,
    missing: u64,
}

impl Ledger {
    /// A ledger that begins at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// A record came, as number `seq` of its cpu.
    pub(super) fn came(&mut self, cpu: u32, seq: u64) {
        self.decoded += 1;
        let numbers = self.numbers.entry(cpu).or_default();
        numbers.came += 1;
        numbers.next = numbers.next.max(seq.saturating_add(1));
    }

    /// Numbers by cpu that never came although the kernel says nothing of a loss: missing at two looks, as an interrupt
    /// can make a later number come first.
    fn unexplained(&mut self, cells: &[Vec<Cell>]) -> Vec<(usize, u64)> {
        let mut found = Vec::new();
        for (&cpu, numbers) in &mut self.numbers {
            let Ok(cpu) = usize::try_from(cpu) else { continue };
            let known: u64 =
                cells.iter().filter_map(|cpus| cpus.get(cpu)).map(|&[_, full, nested]| full + nested).sum();
            let missing = numbers.next.saturating_sub(numbers.came).saturating_sub(known);
            let before = std::mem::replace(&mut numbers.missing, missing);
            found.push((cpu, before.min(missing)));
        }
        found
    }

    /// What is new since the last call. `cells` are by kind, then by cpu; `skipped` by program.
    pub(super) fn losses(
        &mut self,
        cells: &[Vec<Cell>],
        skipped: &[(&'static str, u64)],
        now: Timestamp,
    ) -> Vec<Loss> {
        let mut losses = Vec::new();
        let since = std::mem::replace(&mut self.since, now);
        let unexplained = self.unexplained(cells);
        let mut tell = |place: &'static str, row: usize, cpu: usize, total: u64, detail: String| {
            let told = self.told.entry((place, row, cpu)).or_default();
            let count = total.saturating_sub(*told);
            *told = total.max(*told);
            if count > 0 {
                losses.push(Loss { place: place.to_owned(), count, since, detail });
            }
        };
        for (row, (cpus, name)) in cells.iter().zip(kind::NAMES).enumerate() {
            for (cpu, &[_, full, nested]) in cpus.iter().enumerate() {
                tell("ring", row, cpu, full, format!("{name} records on cpu {cpu}: the ring was full"));
                tell(
                    "nested",
                    row,
                    cpu,
                    nested,
                    format!("{name} records on cpu {cpu}: another was being built"),
                );
            }
        }
        for (row, (program, count)) in skipped.iter().enumerate() {
            let detail =
                format!("program {program}: the kernel skipped it while it was already running on that cpu");
            tell("skipped", row, 0, *count, detail);
        }
        for (cpu, count) in unexplained {
            tell("sequence", 0, cpu, count, format!("numbers on cpu {cpu} that never came"));
        }
        tell("record", 0, 0, self.undecodable, "records of the probe that could not be decoded".to_owned());
        let detail = "events that were too many to be kept while the probe checked itself".to_owned();
        tell("self-check", 0, 0, self.unkept, detail);
        losses
    }

    /// All of it, for the manifest.
    pub(super) fn counts(&self, cells: Option<&[Vec<Cell>]>, skipped: &[(&'static str, u64)]) -> Counts {
        let known = cells.is_some();
        let lost = self.undecodable + self.unkept;
        let mut counts = Counts { decoded: self.decoded, lost, known, ..Counts::default() };
        for (cpus, name) in cells.unwrap_or_default().iter().zip(kind::NAMES) {
            let mut row = KindCounts::default();
            for &[attempted, full, nested] in cpus {
                row.attempted += attempted;
                row.lost += full + nested;
            }
            row.submitted = row.attempted.saturating_sub(row.lost);
            counts.attempted += row.attempted;
            counts.submitted += row.submitted;
            counts.lost += row.lost;
            counts.kinds.insert(name, row);
        }
        counts.skipped = skipped.iter().map(|(_, count)| count).sum();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_loss_is_told_once_with_its_span() {
        let mut ledger = Ledger::new(at(10));
        let mut cells = vec![vec![[5, 0, 0], [7, 2, 0]]; 1];
        let losses = ledger.losses(&cells, &[], at(20));
        assert_eq!(losses.len(), 1);
        assert_eq!((losses[0].place.as_str(), losses[0].count, losses[0].since), ("ring", 2, at(10)));
        assert_eq!(ledger.losses(&cells, &[], at(30)), vec![]);
        cells[0][1] = [9, 3, 1];
        ledger.undecodable = 4;
        ledger.unkept = 5;
        let counts: Vec<_> =
            ledger.losses(&cells, &[("exec", 6)], at(40)).iter().map(|loss| loss.count).collect();
        assert_eq!(counts, [1, 1, 6, 4, 5]);
    }

    #[test]
    fn a_number_that_never_comes_is_told_unless_the_kernel_told_it() {
        let mut ledger = Ledger::new(at(0));
        for seq in [0, 1, 4] {
            ledger.came(1, seq);
        }
        assert_eq!(ledger.losses(&[], &[], at(1)), vec![]);
        ledger.came(1, 3);
        let losses = ledger.losses(&[], &[], at(2));
        assert_eq!((losses.len(), losses[0].place.as_str(), losses[0].count), (1, "sequence", 1));
        assert_eq!(ledger.losses(&[], &[], at(3)), vec![]);
        let mut ledger = Ledger::new(at(0));
        ledger.came(0, 1);
        let cells = [vec![[2, 1, 0]]];
        let places: Vec<_> = (1..4).flat_map(|second| ledger.losses(&cells, &[], at(second))).collect();
        assert!(places.iter().all(|loss| loss.place == "ring") && places.len() == 1, "{places:?}");
    }

    #[test]
    fn the_sums_add_up() {
        let ledger = Ledger { decoded: 9, undecodable: 1, ..Ledger::new(at(0)) };
        let cells = [vec![[5, 0, 0], [7, 2, 1]], vec![[1, 0, 0]]];
        let counts = ledger.counts(Some(&cells), &[("exec", 2)]);
        assert!(counts.known && !ledger.counts(None, &[]).known);
        assert_eq!(counts.kinds["exec"], KindCounts { attempted: 12, submitted: 9, lost: 3 });
        assert_eq!((counts.attempted, counts.submitted, counts.lost, counts.skipped), (13, 10, 4, 2));
    }
}
