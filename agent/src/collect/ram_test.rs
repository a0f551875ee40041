use super::super::testing;
use super::*;
use crate::capture::job::{Job, Omit};
use crate::plan::Step;
use crate::plan::around::Around;
use crate::trigger::Profile;

#[test]
fn in_a_namespace_of_its_own_the_machine_is_refused_before_anything_is_opened() {
    let mut job = testing::job();
    job.profile = Profile::Full;
    // A pipe that nobody writes to: opening it would hang.
    let folder = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&folder.path().join("iomem"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    job.places.proc = folder.path().to_owned();
    let taken = testing::take(&job, &testing::tree(&[]), &[], &[Step::Ram]);
    let (outcome, detail) = taken.outcome("whole memory (kcore)");
    assert_eq!(outcome, Outcome::Refused);
    assert!(detail.contains("namespace"), "{detail}");
    assert!(taken.attempts.len() == 1 && taken.members.is_empty(), "{:?}", taken.attempts);
}

#[test]
fn a_policy_that_leaves_out_memory_leaves_out_that_of_the_machine() {
    for omit in [Omit::Memory, Omit::Environment] {
        let mut job = testing::job();
        job.limits.omit = vec![omit];
        let taken = image_within(job, Ram::Lime, 1 << 30, 0);
        assert_eq!(taken.outcome("whole memory (kcore)"), (Outcome::Refused, BY_POLICY));
        assert!(taken.members.is_empty());
    }
}

#[test]
fn only_the_full_profile_asks_for_it() {
    for (profile, asks) in [(Profile::Volatile, false), (Profile::Triage, false), (Profile::Full, true)] {
        let mut job = testing::job();
        job.profile = profile;
        let plan = crate::plan::plan(&job, &testing::tree(&[]), &[], &Around::default());
        assert_eq!(plan.steps.contains(&Step::Ram), asks, "{profile:?}");
    }
}

/// A bag with what `work` took, from a job that may see the machine; the machine is the one it is told of.
fn image_of(format: Ram, budget: u64, bad: u64) -> testing::Taken {
    image_within(testing::job(), format, budget, bad)
}

fn image_within(mut job: Job, format: Ram, budget: u64, bad: u64) -> testing::Taken {
    let folder = tempfile::tempdir().unwrap();
    job.profile = Profile::Full;
    job.facts.initial_pid_namespace = true;
    job.limits.ram = format;
    job.limits.ram_bytes = budget;
    job.places.proc = folder.path().to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write(
        "iomem",
        b"00001000-00003fff : System RAM\n  00001000-00001fff : Kernel code\n00005000-00005fff : Reserved\n",
    );
    write("version", b"Linux version 6.1.0\n");
    write("kcore", &kcore(bad));
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Ram])
}

/// A core of three pages from 0x1000 on: bytes 1, 2, 3; of the last, `bad` bytes are missing.
fn kcore(bad: u64) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for field in [0_u64, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    for field in [1, 0x1000, 0xffff_8880_0000_1000, 0x1000, 0x3000, 0x3000, 0] {
        bytes.extend(u64::to_le_bytes(field));
    }
    bytes.resize(0x1000, 0);
    for page in 1..4_u8 {
        bytes.extend([page; 0x1000]);
    }
    bytes.truncate(bytes.len() - usize::try_from(bad).unwrap());
    bytes
}

const PARTLY: u64 = 1;

#[test]
fn an_image_is_in_the_bag_byte_for_byte_with_its_report() {
    let taken = image_of(Ram::Lime, 1 << 30, 0);
    let image = &taken.members["memory/ram/0000000000001000.lime"];
    let header = b"EMiL\x01\0\0\0\0\x10\0\0\0\0\0\0\xff\x3f\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let expected = [&header[..], &[1; 0x1000], &[2; 0x1000], &[3; 0x1000]].concat();
    assert!(*image == expected);
    assert_eq!(taken.outcome("memory 0x1000-0x4000").0, Outcome::Ok);
    assert_eq!(taken.outcome("whole memory (kcore)").0, Outcome::Ok);
    let report: serde_json::Value = serde_json::from_slice(&taken.members["memory/ram.json"]).unwrap();
    assert_eq!((&report["way"], &report["format"]), (&"kcore".into(), &"lime".into()));
    let part = &report["parts"][0];
    assert_eq!(part["artifact"], "data/memory/ram/0000000000001000.lime");
    assert_eq!((&part["start"], &part["end"]), (&"0x1000".into(), &"0x4000".into()));
    assert!(report["began"]["boot_us"].as_u64() <= report["ended"]["boot_us"].as_u64());
    assert_eq!(report["unread"].as_array().unwrap().len(), 0);
}

#[test]
fn what_cannot_be_read_is_zeros_and_told_in_both_formats() {
    let taken = image_of(Ram::Lime, 1 << 30, PARTLY);
    let image = &taken.members["memory/ram/0000000000001000.lime"];
    assert!(image.len() == 32 + 0x3000 && image[32 + 0x2000..].iter().all(|&byte| byte == 0));
    let taken_avml = image_of(Ram::Avml, 1 << 30, PARTLY);
    assert!(taken_avml.members["memory/ram/0000000000001000.avml"].starts_with(b"AVML\x02\0\0\0"));
    for taken in [taken, taken_avml] {
        for subject in ["memory 0x1000-0x4000", "whole memory (kcore)"] {
            let (outcome, detail) = taken.outcome(subject);
            assert_eq!(outcome, Outcome::Partial);
            assert!(detail.contains("4096 bytes are zeros"), "{detail}");
        }
        let report: serde_json::Value = serde_json::from_slice(&taken.members["memory/ram.json"]).unwrap();
        assert_eq!(
            (&report["unread"][0]["start"], &report["unread_bytes"]),
            (&"0x3000".into(), &4096.into())
        );
    }
}

#[test]
fn the_budget_is_kept_and_the_rest_is_a_hole() {
    let taken = image_of(Ram::Lime, 0x1000, 0);
    assert_eq!(taken.members["memory/ram/0000000000001000.lime"].len(), 32 + 0x1000);
    let (outcome, detail) = taken.outcome("whole memory (kcore)");
    assert_eq!(outcome, Outcome::Partial);
    assert!(detail.contains("8192 bytes are left out") && detail.contains("capture.ram_bytes"), "{detail}");
}

#[test]
fn when_the_time_is_over_the_report_is_written_still() {
    for format in [Ram::Lime, Ram::Avml] {
        let mut job = testing::job();
        job.limits.deadline_s = LAST.as_secs();
        let taken = image_within(job, format, 1 << 30, 0);
        assert!(!taken.members.contains_key("memory/ram/0000000000001000.lime"));
        let (outcome, detail) = taken.outcome("whole memory (kcore)");
        assert_eq!(outcome, Outcome::Partial);
        assert!(detail.contains("12288 bytes are left out") && detail.contains(LATE), "{detail}");
        let report: serde_json::Value = serde_json::from_slice(&taken.members["memory/ram.json"]).unwrap();
        assert_eq!(report["left_out"][0]["why"], LATE);
    }
}

#[test]
fn whoever_wants_none_gets_none() {
    let taken = image_of(Ram::None, 1 << 30, 0);
    assert!(taken.members.is_empty());
    assert!(taken.outcome("whole memory (kcore)").1.contains("capture.ram"));
}
