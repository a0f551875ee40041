//! A file system of one file, which answers until it is told to be silent; then it is as one whose server hangs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// The file's name, its content's bytes and their number.
pub const NAME: &str = "file";
const CONTENT: u8 = b'F';
const PAGES: u64 = 16;

/// Numbers of include/uapi/linux/fuse.h.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// Mounts it at `folder`.
pub fn attach(folder: &Path) -> Result<File> {
    let device = File::options().read(true).write(true).open("/dev/fuse").context("open /dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("hostile"), folder, Some("fuse"), flags, Some(&*options)).context("mount FUSE")?;
    Ok(device)
}

/// Answers until `silent`; then reads on, and says nothing.
pub fn serve(mut device: File, silent: &AtomicBool) -> Result<()> {
    let mut request = vec![0; 1 << 18];
    loop {
        let length = device.read(&mut request)?;
        let request = &request[..length];
        let number = |at: usize| Some(u64::from_ne_bytes(request.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_ne_bytes(request.get(at..at + 4)?.try_into().ok()?));
        let (opcode, unique) = (short(4).context("no opcode")?, number(8).context("no number")?);
        let node = number(16).context("no node")?;
        if silent.load(Ordering::SeqCst) || opcode == FORGET || opcode == BATCH_FORGET {
            continue;
        }
        let answer = match opcode {
            INIT => {
                Ok([7_u32, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat())
            }
            LOOKUP if request.get(40..).is_some_and(|name| name.starts_with(NAME.as_bytes())) => Ok(entry()),
            GETATTR => Ok([[3600, 0].map(u64::to_ne_bytes).concat(), attributes(node)].concat()),
            OPEN => Ok(vec![0; 16]),
            READ => {
                let (offset, size) = (number(48).unwrap_or(0), u64::from(short(56).unwrap_or(0)));
                let rest = (PAGES * 4096).saturating_sub(offset).min(size);
                Ok(vec![CONTENT; usize::try_from(rest)?])
            }
            LOOKUP => Err(libc::ENOENT),
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len())?;
        let head = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
        device.write_all(&[head, body].concat())?;
    }
}

fn entry() -> Vec<u8> {
    [[FILE, 0, 3600, 3600, 0].map(u64::to_ne_bytes).concat(), attributes(FILE)].concat()
}

fn attributes(node: u64) -> Vec<u8> {
    let (mode, size): (u32, u64) =
        if node == ROOT { (libc::S_IFDIR | 0o755, 0) } else { (libc::S_IFREG | 0o644, PAGES * 4096) };
    let long = [node, size, PAGES * 8, 0, 0, 0].map(u64::to_ne_bytes).concat();
    let short = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat();
    [long, short].concat()
}
