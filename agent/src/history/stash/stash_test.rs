use super::*;
use crate::event::BootId;
use crate::history::stasher::Ask;

fn me() -> ProcessId {
    ProcessId { boot: BootId([0; 16]), pid: std::process::id(), start: 1 }
}

fn own_image() -> Image {
    let path = std::fs::read_link("/proc/self/exe").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    Image { executable: Bytes::from(path.to_str().unwrap()), inode, ..Image::default() }
}

#[test]
fn an_executable_is_asked_for_once_and_then_known() {
    let (here, there) = ipc::Channel::pair().unwrap();
    let mut stash = Stash::default();
    assert!(stash.connect(Some(here)).is_empty());
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    let (ask, files) = there.recv::<Ask>().unwrap().unwrap();
    let ticket = ask.ticket();
    assert_eq!(files.len(), 1);
    there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
    let answers = stash.answers().unwrap();
    assert!(matches!(&answers[..], [Kept::Yes(process, kept)] if *process == me() && kept.sha256 == "aa"));
    assert!(matches!(&stash.take(Path::new("/proc"), me(), &own_image())[..], [Kept::Yes(..)]));
}

#[test]
fn a_file_that_is_on_its_way_is_not_sent_again() {
    let (here, there) = ipc::Channel::pair().unwrap();
    let mut stash = Stash::default();
    stash.connect(Some(here));
    let other = ProcessId { start: 2, ..me() };
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    assert!(stash.take(Path::new("/proc"), other, &own_image()).is_empty());
    assert!(stash.is_waiting());
    let ticket = there.recv::<Ask>().unwrap().unwrap().0.ticket();
    assert!(matches!(there.try_recv::<Ask>(), Err(ipc::Error::WouldBlock)));
    there.send(&Answer::Kept { ticket, sha256: "aa".to_owned(), size: 5 }, &[]).unwrap();
    let answers = stash.answers().unwrap();
    assert!(matches!(&answers[..], [Kept::Yes(one, _), Kept::Yes(two, _)] if *one == me() && *two == other));
    assert!(!stash.is_waiting());
}

#[test]
fn another_program_by_then_is_not_taken_for_the_one_that_was_seen() {
    let mut stash = Stash::default();
    let image = Image { executable: Bytes::from("/bin/other"), inode: u64::MAX, ..Image::default() };
    let taken = stash.take(Path::new("/proc"), me(), &image);
    let [Kept::No(_, _, reason)] = &taken[..] else { panic!("{taken:?}") };
    assert!(reason.contains("another program"), "{reason}");
}

#[test]
fn a_process_that_is_gone_and_a_stasher_that_is_gone_are_said() {
    let mut stash = Stash::default();
    let gone = ProcessId { pid: u32::MAX, ..me() };
    let taken = stash.take(Path::new("/proc"), gone, &own_image());
    let [Kept::No(_, _, reason)] = &taken[..] else { panic!("{taken:?}") };
    assert!(reason.contains("cannot reach"), "{reason}");
    let (here, _there) = ipc::Channel::pair().unwrap();
    stash.connect(Some(here));
    assert!(stash.take(Path::new("/proc"), me(), &own_image()).is_empty());
    assert!(matches!(&stash.connect(None)[..], [Kept::No(_, _, reason)] if reason.contains("ended")));
}
