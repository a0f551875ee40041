//! The shortest of lives: one system call, exit with status 0. What it is given is for those who watch.
//!
//! Without the C library's start-up (build.rs), which would be most of its life: the worst case for whoever watches
//! processes.
#![no_main]

use std::arch::global_asm;

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov edi, 0", "mov eax, {exit}", "syscall", exit = const libc::SYS_exit_group);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, #0", "mov x8, {exit}", "svc #0", exit = const libc::SYS_exit_group);
