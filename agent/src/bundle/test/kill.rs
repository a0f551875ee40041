//! A bag whose collector ended anyhow, anywhere, is sealed with what was complete, and says so.

use std::fs;
use std::io::{self, Read};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::bundle::verify::Verdict;

const ZEROS: usize = 9 << 20;

/// The files of a bag over several frames, as its collector left them.
fn files(lab: &Lab, job: &Job) -> (Vec<u8>, Vec<u8>) {
    let mut bag = lab.bag(job);
    fill(&mut bag);
    bag.stream(&Name::data(&["zeros"]), long(ZEROS), &mut io::repeat(0)).unwrap();
    bag.attempt(&attempt("zeros", Outcome::Ok)).unwrap();
    bag.put(&Name::data(&["last"]), &noise(600)).unwrap();
    bag.finish().unwrap();
    let read = |kind| fs::read(lab.path().join(format!("{}.{kind}", job.id))).unwrap();
    (read("partial"), read("journal"))
}

/// Seals a bag that consists of these files.
fn seal_files(partial: &[u8], journal: &[u8], ended: Ended) -> (Report, Vec<u8>) {
    let (lab, job) = (Lab::new(), Job { id: id_of(journal), ..job() });
    write(&lab.path().join(format!("{}.partial", job.id)), partial);
    write(&lab.path().join(format!("{}.journal", job.id)), journal);
    let sealed = lab.seal(&job, ended);
    let bytes = fs::read(lab.path().join(sealed.file)).unwrap();
    (lab.verify(&bytes), bytes)
}

fn id_of(journal: &[u8]) -> Uuid {
    let line: serde_json::Value =
        serde_json::from_slice(journal.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    line["begin"]["id"].as_str().unwrap().parse().unwrap()
}

fn killed() -> Ended {
    Ended::Killed { why: "killed in a test".to_owned() }
}

#[test]
fn a_partial_file_that_is_cut_anywhere_is_sealed_with_what_it_holds() {
    let (lab, job) = (Lab::new(), job());
    let (partial, journal) = files(&lab, &job);
    let whole = seal_files(&partial, &journal, Ended::Finished).0.capture.unwrap();
    let frames: Vec<usize> =
        whole.artifacts.iter().map(|artifact| artifact.frame.try_into().unwrap()).collect();
    let mut cuts: Vec<usize> = (0..partial.len()).step_by(97).collect();
    cuts.extend(frames.iter().flat_map(|&frame| [frame.saturating_sub(1), frame, frame + 1]));
    let mut half = 0;
    for cut in cuts {
        let (report, bytes) = seal_files(&partial[..cut], &journal, killed());
        assert_eq!((report.verdict, &report.why), (Verdict::Good, &None), "cut at {cut}");
        let capture = report.capture.unwrap();
        assert_eq!((capture.complete, capture.incomplete.as_deref()), (false, Some("killed in a test")));
        if cut == 0 || bytes.is_empty() || capture.artifacts[0].sha256 != whole.artifacts[0].sha256 {
            assert!(capture.artifacts.len() == 1, "only the trigger: {:?}", capture.artifacts);
            continue;
        }
        for (found, was) in capture.artifacts.iter().zip(&whole.artifacts) {
            assert_eq!((&found.name, found.size), (&was.name, was.size));
            if found.read < was.read {
                half += 1;
                let attempt =
                    capture.attempts.iter().find(|attempt| attempt.artifact.as_ref() == Some(&found.name));
                assert_eq!(attempt.unwrap().outcome, Outcome::Partial, "cut at {cut}: {}", found.name);
            }
            // Zeros in place of zeros: the hash of a half member must come out the same here.
            assert_eq!(found.sha256, was.sha256, "cut at {cut}: {}", found.name);
        }
    }
    assert!(half > 0, "no cut went through a member");
}

#[test]
fn a_journal_that_is_cut_anywhere_takes_nothing_from_the_artifacts() {
    let (lab, job) = (Lab::new(), job());
    let (partial, journal) = files(&lab, &job);
    let begin = journal.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for cut in (begin..journal.len()).step_by(83) {
        let (report, _) = seal_files(&partial, &journal[..cut], killed());
        assert_eq!((report.verdict, &report.why), (Verdict::Good, &None), "cut at {cut}");
        let capture = report.capture.unwrap();
        assert_eq!((capture.complete, capture.artifacts.len()), (false, 8));
        let listed: u64 = capture.outcomes.values().sum();
        assert_eq!(listed, long(capture.attempts.len()));
        assert!(capture.outcomes[&Outcome::Partial] > 0, "what nobody vouches for is partial");
    }
}

#[test]
fn a_bag_that_was_closed_is_complete_also_when_nobody_saw_its_collector_end() {
    let (lab, job) = (Lab::new(), job());
    let (partial, journal) = files(&lab, &job);
    let (report, _) = seal_files(&partial, &journal, killed());
    let capture = report.capture.unwrap();
    assert_eq!((report.verdict, capture.complete), (Verdict::Good, true));
    let short = capture.artifacts.iter().find(|artifact| artifact.name.as_str() == "data/short").unwrap();
    assert_eq!((short.read, short.size), (9, 1000), "the journal's word is kept");
    assert!(capture.artifacts[1].original.is_some());
    let end = journal[..journal.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let (report, _) = seal_files(&partial, &journal[..end], Ended::Finished);
    assert_eq!(
        report.capture.unwrap().incomplete.as_deref(),
        Some("the collector ended without closing its bag")
    );
}

#[test]
fn a_seal_that_failed_is_done_again() {
    for cut in [0, 700] {
        let (lab, job) = (Lab::new(), job());
        let (partial, _) = files(&lab, &job);
        let path = lab.path().join(format!("{}.partial", job.id));
        write(&path, &partial[..partial.len() - cut]);
        let mut refuse = |_: &[u8]| Err("no key".to_owned());
        let refused = seal(lab.dir().as_fd(), &job, killed(), &mut refuse).unwrap_err();
        assert!(refused.to_string().ends_with("no key"), "{refused}");
        // As if the first sealer had been killed while it wrote.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a tag file").unwrap();
        let sealed = lab.seal(&job, killed());
        let report = lab.verify(&fs::read(lab.path().join(sealed.file)).unwrap());
        assert_eq!((report.verdict, &report.why), (Verdict::Good, &None));
        assert_eq!(report.capture.unwrap().complete, cut == 0);
    }
}

#[test]
fn a_capture_that_never_began_is_a_bundle_that_says_so() {
    let (lab, job) = (Lab::new(), job());
    let sealed = lab.seal(&job, Ended::Killed { why: "the recorder was restarted".to_owned() });
    let report = lab.verify(&fs::read(lab.path().join(&sealed.file)).unwrap());
    assert_eq!(report.verdict, Verdict::Good);
    assert_eq!(
        report.capture.unwrap().incomplete.as_deref(),
        Some("the collector never began: the recorder was restarted")
    );
    assert_eq!(report.intact[0].name, "data/trigger.json");
    let mut sign = |tagmanifest: &[u8]| lab.key.sign(tagmanifest).map_err(|error| error.to_string());
    let again = seal(lab.dir().as_fd(), &job, killed(), &mut sign).unwrap();
    assert_eq!(again, sealed, "a second seal finds the first one's bundle");
}

/// Gives one byte, then nothing until it is told to end.
struct Hangs(mpsc::Receiver<()>, bool);

impl Read for Hangs {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.1, true) {
            assert_ne!(self.0.recv_timeout(Duration::from_mins(1)), Err(mpsc::RecvTimeoutError::Timeout));
            return Err(io::ErrorKind::TimedOut.into());
        }
        buffer[0] = b'x';
        Ok(1)
    }
}

#[test]
fn what_is_complete_reaches_the_disk_while_a_source_hangs() {
    let (lab, job) = (Lab::new(), job());
    let mut bag = lab.bag(&job);
    let journal = lab.path().join(format!("{}.journal", job.id));
    let (go_on, gate) = mpsc::channel();
    let collector = std::thread::spawn(move || {
        bag.put(&Name::data(&["before"]), b"before").unwrap();
        bag.attempt(&attempt("before", Outcome::Ok)).unwrap();
        let added = bag.stream(&Name::data(&["hangs"]), 100, &mut Hangs(gate, false)).unwrap();
        assert_eq!((added.read, added.failure.unwrap().kind()), (1, io::ErrorKind::TimedOut));
        drop(bag);
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&journal).unwrap().contains("{\"attempt\"") {
        assert!(Instant::now() < deadline, "nothing was written");
        std::thread::yield_now();
    }
    // What a kill would leave now.
    let partial = fs::read(lab.path().join(format!("{}.partial", job.id))).unwrap();
    let (report, _) = seal_files(&partial, &fs::read(&journal).unwrap(), killed());
    let capture = report.capture.unwrap();
    let sizes: Vec<_> = capture.artifacts.iter().map(|artifact| (artifact.read, artifact.size)).collect();
    assert_eq!(sizes, [(6, 6), (1, 100)]);
    assert_eq!(capture.outcomes, [(Outcome::Ok, 1), (Outcome::Partial, 1)].into());
    go_on.send(()).unwrap();
    collector.join().unwrap();
}

#[test]
fn a_bag_is_begun_once_and_sets_space_aside() {
    let (lab, job) = (Lab::new(), job());
    let bag = lab.bag(&job);
    drop(bag);
    assert!(matches!(
        Bag::create(lab.dir(), job.id),
        Err(crate::bundle::writer::Error::Write { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists
    ));
    let reserve = fs::metadata(lab.path().join(format!("{}.reserve", job.id))).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&reserve) * 512 >= 4 << 20, "the reserve is really taken");
    let sealed = lab.seal(&job, killed());
    assert_eq!(lab.verify(&fs::read(lab.path().join(sealed.file)).unwrap()).verdict, Verdict::Good);
}

#[test]
fn a_full_disk_is_named_in_the_bundle() {
    let (lab, job) = (Lab::new(), job());
    let (partial, journal) = files(&lab, &job);
    let begin = journal.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let full = [&journal[..begin], b"{\"fail\":{\"why\":\"No space left on device\"}}\n"].concat();
    let (report, _) = seal_files(&partial[..partial.len() / 2], &full, killed());
    let why = report.capture.unwrap().incomplete.unwrap();
    assert_eq!(why, "killed in a test: the bundle could not be written: No space left on device");
}
