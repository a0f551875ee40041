//! Runs another program from memory only: `ghost PROGRAM ARGUMENTS...`; no file of that name is ever executed.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::{env, os};

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::fexecve;

fn main() -> Result<()> {
    let arguments: Vec<CString> =
        env::args_os().skip(1).map(|argument| CString::new(argument.into_vec())).collect::<Result<_, _>>()?;
    let program = env::args_os().nth(1).context("usage: ghost PROGRAM ARGUMENTS...")?;
    let descriptor: os::fd::OwnedFd = memfd_create("", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(descriptor);
    file.write_all(&fs::read(&program)?)?;
    let environment: Vec<CString> = env::vars_os()
        .map(|(name, value)| CString::new([name.into_vec(), value.into_vec()].join(&b'=')))
        .collect::<Result<_, _>>()?;
    fexecve(&file, &arguments, &environment)?;
    Ok(())
}
