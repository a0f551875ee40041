//! A process of a known size that notices when it is stopped: `resident MEBIBYTES RESERVED-GIBIBYTES`.
//!
//! A quarter of its memory is zeros, a quarter does not compress, half is lines as of a log. It says where the memory is, then
//! answers each line of its standard input with the longest time for which it did not run since the last one, in µs.

use std::fmt::Write;
use std::io::stdin;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

/// So much of one kind, then the next.
const STRETCH: usize = 64 << 10;
/// How often it looks at the clock.
const BEAT: Duration = Duration::from_millis(1);

static LONGEST: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<()> {
    let mut sizes = env::args().skip(1).map(|size| size.parse::<usize>());
    let mut size = || sizes.next().context("usage: resident MEBIBYTES RESERVED-GIBIBYTES");
    let (resident, reserved) = (size()?? << 20, size()?? << 30);
    if reserved > 0 {
        map(reserved)?;
    }
    let memory = map(resident)?;
    let mut random = Random(88_172_645_463_325_252);
    for (number, stretch) in memory.chunks_mut(STRETCH).enumerate() {
        match number % 4 {
            // A write of zeros, so that the page is there.
            0 => stretch.fill(0),
            1 => stretch
                .chunks_exact_mut(8)
                .for_each(|word| word.copy_from_slice(&random.next().to_ne_bytes())),
            _ => lines(stretch, &mut random)?,
        }
    }
    println!("{:#x} {}", memory.as_ptr().addr(), memory.len());
    thread::spawn(watch_the_clock);
    for line in stdin().lines() {
        line?;
        println!("{}", LONGEST.swap(0, Ordering::Relaxed));
    }
    process::exit(0)
}

/// Private memory in small pages, as the kernel gives it; of a reservation nothing is touched.
fn map(length: usize) -> Result<&'static mut [u8]> {
    let length = NonZeroUsize::new(length).context("no memory")?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice overlaps nothing, is as long as this and lives as
    // long as the process.
    unsafe {
        let start = mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?;
        madvise(start, length.get(), MmapAdvise::MADV_NOHUGEPAGE)?;
        Ok(std::slice::from_raw_parts_mut(start.as_ptr().cast(), length.get()))
    }
}

fn lines(stretch: &mut [u8], random: &mut Random) -> Result<()> {
    let mut text = String::with_capacity(STRETCH + 200);
    while text.len() < stretch.len() {
        let (number, status) = (random.next(), if random.next().is_multiple_of(8) { 404 } else { 200 });
        writeln!(
            text,
            "2026-11-24T11:{:02}:{:02}.{:06}Z INFO [worker-{}] request id={number:016x} path=/api/v1/items/{} \
             status={status} bytes={}",
            number % 60,
            number / 64 % 60,
            number / 4096 % 1_000_000,
            number % 16,
            number / 256 % 4096,
            number / 65536 % 65536,
        )?;
    }
    stretch.copy_from_slice(text.as_bytes().get(..stretch.len()).context("too short")?);
    Ok(())
}

fn watch_the_clock() {
    let mut last = Instant::now();
    loop {
        thread::sleep(BEAT);
        let now = Instant::now();
        let gap = u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX);
        LONGEST.fetch_max(gap, Ordering::Relaxed);
        last = now;
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
