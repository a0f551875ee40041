//! Executes a program while a second thread rewrites the path and the arguments that the kernel is about to read.
//!
//! `swap TRIES FOLDER RESULTS`: each try is a vfork and an execve by one of the names `a` and `b` of FOLDER, which are files
//! of their own. The child shares this process's memory, so the other thread goes on rewriting during the execve. What
//! the kernel really took is written to RESULTS by the program itself (`given`).

use std::ffi::{CString, c_char};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Where `given` writes.
const RESULTS: i32 = 100;
/// So long that a copy of it takes a while: the argument changes under the copying.
const LENGTH: usize = 256;

/// What the kernel reads and the other thread writes.
struct Shared {
    /// The path; its last byte names one of the two files.
    path: Vec<AtomicU8>,
    /// An argument of the same letter throughout, unless it is read while it changes.
    text: Vec<AtomicU8>,
    /// Two arguments, of which the list names one.
    choices: [CString; 2],
    /// The list: path, number of the try, text, choice, end.
    list: [AtomicPtr<c_char>; 5],
    /// Whether an execve is under way: between them the other thread leaves the processor to others.
    racing: AtomicBool,
    over: AtomicBool,
}

fn main() -> Result<()> {
    let usage = "usage: swap TRIES FOLDER RESULTS";
    let tries: u64 = env::args().nth(1).context(usage)?.parse()?;
    let folder = env::args().nth(2).context(usage)?;
    let results = env::args().nth(3).context(usage)?;
    let results = OpenOptions::new().create(true).append(true).open(Path::new(&results))?;
    // SAFETY: both are descriptors of this process; the copy is inherited by those it executes.
    ensure!(unsafe { libc::dup2(results.as_raw_fd(), RESULTS) } == RESULTS, "dup2");

    let bytes = |text: &str| text.bytes().chain([0]).map(AtomicU8::new).collect::<Vec<_>>();
    let shared = Shared {
        path: bytes(&format!("{folder}/a")),
        text: bytes(&"a".repeat(LENGTH)),
        choices: [CString::new("choice-a")?, CString::new("choice-b")?],
        list: Default::default(),
        racing: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        scope.spawn(|| shared.rewrite());
        let outcome = (0..tries).try_for_each(|number| shared.attempt(number));
        shared.over.store(true, Ordering::Relaxed);
        outcome
    })
}

impl Shared {
    /// The second thread: `a` becomes `b` becomes `a`, over and over.
    fn rewrite(&self) {
        let mut letter = b'a';
        while !self.over.load(Ordering::Relaxed) {
            if !self.racing.load(Ordering::Relaxed) {
                thread::yield_now();
                continue;
            }
            letter ^= b'a' ^ b'b';
            self.set(letter);
        }
    }

    fn set(&self, letter: u8) {
        let path = self.path.iter().rev().nth(1);
        path.into_iter().for_each(|last| last.store(letter, Ordering::Relaxed));
        let choice = &self.choices[usize::from(letter == b'b')];
        self.list[3].store(choice.as_ptr().cast_mut(), Ordering::Relaxed);
        self.text.iter().take(LENGTH).for_each(|byte| byte.store(letter, Ordering::Relaxed));
    }

    /// One life. When it begins, everything says `a`.
    fn attempt(&self, number: u64) -> Result<()> {
        let number = CString::new(number.to_string())?;
        self.list[0].store(self.path.as_ptr().cast_mut().cast(), Ordering::Relaxed);
        self.list[1].store(number.as_ptr().cast_mut(), Ordering::Relaxed);
        self.list[2].store(self.text.as_ptr().cast_mut().cast(), Ordering::Relaxed);
        self.set(b'a');
        self.racing.store(true, Ordering::Relaxed);
        let mut pid = 0;
        let nothing = [ptr::null_mut::<c_char>()];
        // SAFETY: path and list point at strings that end in a zero which nobody overwrites, and live longer than the
        // call; that single bytes and one pointer change meanwhile is the purpose: all are atomic on our side, and whoever
        // reads them is the kernel.
        let failed = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.path.as_ptr().cast(),
                ptr::null(),
                ptr::null(),
                self.list.as_ptr().cast(),
                nothing.as_ptr(),
            )
        };
        self.racing.store(false, Ordering::Relaxed);
        ensure!(failed == 0, "start try {number:?}: {}", std::io::Error::from_raw_os_error(failed));
        let ended = waitpid(Pid::from_raw(pid), None)?;
        ensure!(matches!(ended, WaitStatus::Exited(_, 0)), "try {number:?} ended badly: {ended:?}");
        Ok(())
    }
}
