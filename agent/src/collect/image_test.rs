use std::process::Command;
use std::time::Duration;

use super::*;
use crate::collect::procdir::ProcDir;
use crate::collect::segments::{Piece, Segment, Worth};
use crate::collect::snapshot;
use crate::collect::testing::Child;

/// The child's largest writable mapping as one segment, and a reader of it.
fn image<'r>(dir: &ProcDir, segments: &[(u64, u64)], reading: &'r RefCell<Reading>) -> Image<'r> {
    let segments: Vec<Segment> = segments
        .iter()
        .map(|&(start, end)| Segment {
            start,
            end,
            flags: 6,
            worth: Worth::Private,
            pieces: vec![Piece { start, end, zero: false }],
        })
        .collect();
    let source = Source::new(dir.file("mem").unwrap(), 4096);
    let (blocks, stop) = (snapshot::blocks(&segments), Stop::all(dir, Duration::from_mins(1), None));
    Image::new(b"head".to_vec(), blocks, Store::default(), source, Some(stop), reading)
}

fn stack(dir: &ProcDir) -> (u64, u64) {
    let (maps, _) = dir.text("maps", 1 << 20).unwrap();
    let all = crate::proc::mappings(&maps);
    let stack = all.iter().find(|mapping| mapping.path.as_slice() == b"[stack]").unwrap();
    (stack.end - 8192, stack.end)
}

#[test]
fn a_child_that_is_killed_in_the_middle_ends_the_stream_with_an_error() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    let reading = RefCell::new(Reading::default());
    let (start, end) = stack(&dir);
    let mut image = image(&dir, &[(start, end)], &reading);
    let mut head = [0; 4];
    image.read_exact(&mut head).unwrap();
    drop(child); // kills it, and waits until it is gone
    let error = image.read(&mut [0; 64]).unwrap_err();
    assert_eq!(Miss::at("read", &error).outcome, Outcome::Gone);
}

#[test]
fn pages_the_kernel_does_not_give_are_zeros_and_listed() {
    let child = Child::spawn(Command::new("sleep").arg("60"));
    let dir = ProcDir::open("/proc".as_ref(), child.id()).unwrap();
    let reading = RefCell::new(Reading::default());
    let (start, end) = stack(&dir);
    // Nothing is mapped at the first pages.
    let mut image = image(&dir, &[(4096, 3 * 4096), (start, end)], &reading);
    let mut bytes = Vec::new();
    image.read_to_end(&mut bytes).unwrap();
    drop(image);
    assert_eq!(bytes.len(), 4 + 4 * 4096);
    assert!(bytes[4..4 + 8192].iter().all(|&byte| byte == 0));
    assert!(bytes[4 + 8192..].iter().any(|&byte| byte != 0), "the environment is at the end of the stack");
    let reading = reading.into_inner();
    assert_eq!((reading.unreadable.len(), reading.unreadable_bytes), (1, 8192));
    assert!(reading.judge().outcome == Outcome::Partial && reading.frozen_us > 0);
}
