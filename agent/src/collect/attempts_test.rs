use std::time::Duration;

use super::*;
use crate::collect::testing;

/// Runs `act` with the budget `bytes` and a deadline so far away; the attempts' outcomes.
fn outcomes(bytes: u64, deadline: Duration, act: impl FnOnce(&mut Attempts<'_>)) -> Vec<(String, Outcome)> {
    let folder = tempfile::tempdir().unwrap();
    let job = testing::job();
    let mut bag = Bag::create(std::fs::File::open(folder.path()).unwrap().into(), job.id).unwrap();
    let limits = Limits { bytes, ..Limits::default() };
    let mut seen = Vec::new();
    let mut progress = |progress: Progress| seen.push(progress.done);
    let mut attempts = Attempts::new(&mut bag, &mut progress, &limits, Instant::now() + deadline);
    attempts.begin("test");
    act(&mut attempts);
    bag.finish().unwrap();
    let all = testing::contents(folder.path(), &job).1;
    assert_eq!(seen.last().copied(), u64::try_from(all.len()).ok(), "one report for each attempt");
    all.into_iter().map(|attempt| (attempt.subject, attempt.outcome)).collect()
}

fn name(name: &str) -> Name {
    Name::data(&[name])
}

#[test]
fn what_does_not_fit_is_over_the_budget_and_smaller_things_still_fit() {
    let found = outcomes(10, Duration::from_mins(1), |attempts| {
        attempts.take("a", &name("a"), |_| Ok(Found::bytes(vec![1; 8]))).unwrap();
        attempts.take("b", &name("b"), |_| Ok(Found::bytes(vec![1; 8]))).unwrap();
        attempts.take("c", &name("c"), |_| Ok(Found::bytes(vec![1; 2]))).unwrap();
    });
    let expected = [("a", Outcome::Ok), ("b", Outcome::OverBudget), ("c", Outcome::Ok)];
    assert_eq!(found, expected.map(|(subject, outcome)| (subject.to_owned(), outcome)));
}

#[test]
fn one_name_twice_is_refused_and_ends_nothing() {
    let found = outcomes(100, Duration::from_mins(1), |attempts| {
        for subject in ["a", "b"] {
            attempts.take(subject, &name("same"), |_| Ok(Found::bytes(vec![1]))).unwrap();
        }
        attempts.take("c", &name("other"), |_| Ok(Found::bytes(vec![1]))).unwrap();
    });
    let outcomes: Vec<Outcome> = found.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Refused, Outcome::Ok]);
}

#[test]
fn a_source_is_not_read_past_the_deadline() {
    let deadline = Duration::from_millis(200);
    let found = outcomes(1 << 30, deadline, |attempts| {
        let begin = Instant::now();
        attempts.take("endless", &name("endless"), |_| Ok(Found::stream(io::repeat(7), 1 << 20))).unwrap();
        while begin.elapsed() < deadline {
            std::hint::spin_loop();
        }
        attempts.take("late", &name("late"), |_| Ok(Found::bytes(vec![1]))).unwrap();
        assert!(attempts.late());
    });
    assert_eq!(found[1], ("late".to_owned(), Outcome::TimedOut));
    let mut past = Timed { source: Box::new(io::repeat(7)), deadline: Instant::now() };
    assert_eq!(past.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn the_kernels_answers_are_outcomes() {
    for (errno, outcome) in [
        (Errno::ENOENT, Outcome::Gone),
        (Errno::ESRCH, Outcome::Gone),
        (Errno::EACCES, Outcome::Refused),
        (Errno::EPERM, Outcome::Refused),
        (Errno::EIO, Outcome::Refused),
        (Errno::EAGAIN, Outcome::TimedOut),
    ] {
        assert_eq!(Miss::at("open", &errno.into()).outcome, outcome, "{errno}");
    }
}

#[test]
fn reading_is_bounded_and_says_so() {
    assert_eq!(read_bounded(&b"1234"[..], 4).unwrap(), (b"1234".to_vec(), true));
    assert_eq!(read_bounded(&b"12345"[..], 4).unwrap(), (b"1234".to_vec(), false));
    assert_eq!(read_bounded(io::repeat(0), 1000).unwrap().0.len(), 1000);
}
