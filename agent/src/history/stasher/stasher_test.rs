use std::io::Write;
use std::time::SystemTime;

use super::*;

fn file(content: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.into()
}

fn places() -> Places {
    Places { proc: "/proc".into(), root: "/".into() }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asks for each of these files, and returns the answers.
fn answers(folder: &Path, limits: &Limits, files: &[OwnedFd]) -> Vec<Answer> {
    let (here, there) = ipc::Channel::pair().unwrap();
    let (path, limits) = (folder.to_owned(), limits.clone());
    let server = std::thread::spawn(move || {
        serve(&there, &path, &limits, &places()).map_err(|failure| failure.to_string())
    });
    for (ticket, file) in (0..).zip(files) {
        let ask = Ask::File { ticket, path: Bytes::from("/x") };
        here.send(&ask, &[file.as_fd()]).unwrap();
    }
    let mut answers: Vec<Answer> = Vec::new();
    while answers.iter().filter(|answer| !matches!(answer, Answer::Evicted { .. })).count() < files.len() {
        answers.push(here.recv().unwrap().unwrap().0);
    }
    drop(here);
    server.join().unwrap().unwrap();
    answers
}

fn sha256(answer: &Answer) -> &str {
    let Answer::Kept { sha256, .. } = answer else { panic!("{answer:?}") };
    sha256
}

#[test]
fn a_file_is_kept_once_under_its_hash_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        for answer in answers(folder.path(), &Limits::default(), &[file(b"abc"), file(b"abc")]) {
            assert_eq!(sha256(&answer), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
            assert!(matches!(answer, Answer::Kept { size: 3, .. }));
        }
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.zst";
        assert_eq!(names(folder.path()), [name]);
        let packed = std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), b"abc");
    }
}

#[test]
fn a_large_file_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for _ in 0..2 {
        let all = answers(folder.path(), &Limits::default(), &[file(&content)]);
        assert_eq!(names(folder.path()), [format!("{}.zst", sha256(&all[0]))]);
        let packed = std::fs::read(folder.path().join(format!("{}.zst", sha256(&all[0])))).unwrap();
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), content);
    }
}

#[test]
fn a_handle_that_was_never_opened_will_do() {
    use nix::fcntl::{OFlag, open};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, b"abc").unwrap();
    let handle = open(&path, OFlag::O_PATH, nix::sys::stat::Mode::empty()).unwrap();
    let all = answers(&folder.path().join("stash"), &Limits::default(), &[handle]);
    assert!(sha256(&all[0]).starts_with("ba7816bf"));
}

#[test]
fn a_file_that_is_too_large_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 9, ..Limits::default() };
    let all = answers(folder.path(), &limits, &[file(&[0; 10]), file(&[0; 9])]);
    let Answer::Failed { ticket: 0, reason, again: false } = &all[0] else { panic!("{all:?}") };
    assert!(reason.contains("larger than 9 bytes"), "{reason}");
    assert!(matches!(&all[1], Answer::Kept { .. }));
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn many_files_come_in_the_order_they_were_asked() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<OwnedFd> = (0..200_u32).map(|number| file(&number.to_le_bytes())).collect();
    let all = answers(folder.path(), &Limits::default(), &files);
    for (number, answer) in (0..).zip(&all) {
        assert!(matches!(answer, Answer::Kept { ticket, size: 4, .. } if *ticket == number), "{answer:?}");
    }
    assert_eq!(names(folder.path()).len(), 200);
}

#[test]
fn when_full_the_oldest_goes_and_the_newest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 42, ..Limits::default() };
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (age, content) in [(30, b"one"), (20, b"two"), (10, b"six")] {
        let all = answers(folder.path(), &limits, &[file(content)]);
        let (went, sha256) = match &all[..] {
            [Answer::Evicted { sha256: went }, kept] => (went.clone(), sha256(kept)),
            [kept] => (Vec::new(), sha256(kept)),
            _ => panic!("{all:?}"),
        };
        gone.extend(went);
        let path = folder.path().join(format!("{sha256}.zst"));
        let time = SystemTime::now() - Duration::from_secs(age);
        File::open(&path).unwrap().set_modified(time).unwrap();
        kept.push(format!("{sha256}.zst"));
    }
    let left = names(folder.path());
    assert!(!left.contains(&kept[0]) && left.contains(&kept[2]), "{left:?}");
    assert_eq!(format!("{}.zst", gone[0]), kept[0], "what went is said");
}

#[test]
fn a_request_without_a_file_and_a_stash_that_cannot_be_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = ipc::Channel::pair().unwrap();
    let not_a_folder = folder.path().join("file");
    std::fs::write(&not_a_folder, b"").unwrap();
    let path = folder.path().join("stash");
    for (path, words) in [(path, "no descriptor"), (not_a_folder, "cannot open the stash")] {
        std::thread::scope(|scope| {
            let server =
                scope.spawn(|| serve(&there, &path, &Limits::default(), &places()).unwrap_err().to_string());
            here.send(&Ask::File { ticket: 8, path: Bytes::default() }, &[]).unwrap();
            let (answer, _) = here.recv::<Answer>().unwrap().unwrap();
            let Answer::Failed { ticket: 8, reason, again: true } = &answer else { panic!("{answer:?}") };
            assert!(reason.contains(words), "{reason}");
            // A question that is none ends this server, and not the channel.
            here.send(&"nonsense", &[]).unwrap();
            server.join().unwrap();
        });
    }
}

#[test]
fn a_stash_that_is_held_is_not_emptied_and_there_may_be_none() {
    let folder = tempfile::tempdir().unwrap();
    assert!(hold(&folder.path().join("none")).is_none());
    let limits = Limits { bytes: 20, ..Limits::default() };
    let held = hold(folder.path()).unwrap();
    let all = answers(folder.path(), &limits, &[file(b"one")]);
    assert!(matches!(all[..], [Answer::Kept { .. }]));
    let all = answers(folder.path(), &limits, &[file(b"two")]);
    assert!(matches!(all[..], [Answer::Kept { .. }]));
    assert_eq!(names(folder.path()).len(), 2, "the bound is exceeded, and nothing goes");
    let all = answers(folder.path(), &limits, &[file(b"six")]);
    let [Answer::Failed { reason, again: true, .. }] = &all[..] else { panic!("{all:?}") };
    assert!(reason.contains("a capture that runs holds"), "{reason}");
    drop(held);
    answers(folder.path(), &Limits { bytes: 40, ..limits }, &[file(b"six")]);
    assert_eq!(names(folder.path()).len(), 2);
}
