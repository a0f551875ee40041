use std::process::Command;

use super::super::testing::{self, Child};
use crate::bundle::Outcome;
use crate::plan::Step;

#[test]
fn a_deleted_executable_is_taken_and_one_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("vim");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let content = std::fs::read(&program).unwrap();
    let (one, two) =
        (Child::spawn(Command::new(&program).arg("60")), Child::spawn(Command::new(&program).arg("60")));
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, b"a decoy").unwrap();
    let ids = [one.id(), two.id()];
    let taken = testing::take(&testing::job(), &testing::tree(&ids), &ids, &[Step::Exe]);
    let (first, second) = (ids[0].short(), ids[1].short());
    assert_eq!(taken.members[&format!("process/{first}/exe")], content);
    assert_eq!(taken.outcome(&format!("{first} exe")), (Outcome::Ok, "its file has no name any more"));
    assert_eq!(taken.outcome(&format!("{second} exe")), (Outcome::Ok, "the same file; taken once"));
    assert_eq!(taken.members.len(), 1);
}

#[test]
fn no_size_but_the_captures_budget_cuts_an_executable() {
    let child = Child::spawn(Command::new("/bin/sleep").arg("60"));
    let content = std::fs::read("/bin/sleep").unwrap();
    let mut job = testing::job();
    job.limits.file_bytes = 1000;
    let ids = [child.id()];
    let subject = format!("{} exe", ids[0].short());
    let taken = testing::take(&job, &testing::tree(&ids), &ids, &[Step::Exe]);
    assert_eq!(taken.outcome(&subject), (Outcome::Ok, ""));
    assert_eq!(taken.members.values().next().unwrap(), &content);
    job.limits.bytes = 2000;
    let taken = testing::take(&job, &testing::tree(&ids), &ids, &[Step::Exe]);
    assert_eq!(taken.outcome(&subject).0, Outcome::OverBudget);
    assert_eq!(taken.members.values().next().unwrap(), &content[..1000], "half of it, for what follows");
}
