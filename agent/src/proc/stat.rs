//! `/proc/PID/stat`: the name in it may hold spaces, newlines and `)`.

use super::{Error, decimal};
use crate::text::Bytes;

/// The fields of `/proc/PID/stat` that matter to us; names as in proc(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// As the reader's PID namespace sees it.
    pub pid: u32,
    /// The short name, without its parentheses.
    pub comm: Bytes,
    /// `R`, `S`, `D`, `Z`, `T`, `t`, `X`, `I`, ...
    pub state: u8,
    /// 0 when the parent is outside the reader's namespace.
    pub ppid: u32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub session: i32,
    /// Controlling terminal as a device number, 0 for none.
    pub tty: i32,
    /// The kernel's `PF_*` flags.
    pub flags: u32,
    /// Clock ticks in user mode.
    pub utime: u64,
    /// Clock ticks in kernel mode.
    pub stime: u64,
    /// Threads.
    pub threads: u32,
    /// Start since boot in clock ticks (1/100 s).
    pub start: u64,
    /// Virtual size in bytes.
    pub vsize: u64,
    /// Resident pages.
    pub rss: u64,
}

/// A kernel thread: it has no memory and no executable (`PF_KTHREAD`, include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

impl Stat {
    /// Reads the whole file's bytes. The name reaches from the first `(` to the last `)`, as nothing after it can
    /// hold one.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let open = text.iter().position(|&byte| byte == b'(').ok_or(missing("comm"))?;
        let close = text.iter().rposition(|&byte| byte == b')').ok_or(missing("comm"))?;
        let pid = text.get(..open).unwrap_or_default().trim_ascii();
        let comm = text.get(open + 1..close).ok_or(missing("comm"))?;
        let rest = text.get(close + 1..).unwrap_or_default();
        let mut fields = rest.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let Some(&[state]) = fields.next() else { return Err(missing("state")) };
        let (parent, pgrp) = (number(fields.next(), "ppid")?, signed(fields.next(), "pgrp")?);
        let (session, tty) = (signed(fields.next(), "session")?, signed(fields.next(), "tty_nr")?);
        Ok(Self {
            pid: number(Some(pid), "pid")?,
            comm: Bytes::from(comm),
            state,
            ppid: parent,
            pgrp,
            session,
            tty,
            flags: number(fields.nth(1), "flags")?, // field 9, after tpgid
            utime: number(fields.nth(4), "utime")?, // field 14, after four fault counts
            stime: number(fields.next(), "stime")?,
            threads: number(fields.nth(4), "num_threads")?, // field 20
            start: number(fields.nth(1), "starttime")?,     // field 22, after itrealvalue
            vsize: number(fields.next(), "vsize")?,
            rss: number(fields.next(), "rss")?,
        })
    }

    /// Whether it is a thread of the kernel itself.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

fn missing(field: &'static str) -> Error {
    Error::Field { file: "stat", field }
}

fn number<N: std::str::FromStr>(field: Option<&[u8]>, name: &'static str) -> Result<N, Error> {
    field.and_then(decimal).ok_or(missing(name))
}

fn signed(field: Option<&[u8]>, name: &'static str) -> Result<i32, Error> {
    match field.and_then(|field| field.strip_prefix(b"-")) {
        Some(digits) => number(Some(digits), name).map(|value: i32| -value),
        None => number(field, name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(comm: &str) -> Vec<u8> {
        format!(
            "4242 ({comm}) S 17 4242 4242 -1 4242 4194304 1 2 3 4 55 66 0 0 20 0 7 0 98765 12288000 300 18446744073709551615 1\n"
        )
        .into_bytes()
    }

    #[test]
    fn every_field_is_in_its_place_whatever_the_name() {
        for comm in ["sh", "", "a b", ") R 1 1 1", "x) S 1", "\n", "((((", "))))"] {
            let stat = Stat::parse(&line(comm)).unwrap();
            assert_eq!(stat.comm, Bytes::from(comm));
            assert_eq!((stat.pid, stat.state, stat.ppid, stat.tty), (4242, b'S', 17, -1), "{comm:?}");
            assert_eq!((stat.flags, stat.utime, stat.stime), (4_194_304, 55, 66));
            assert_eq!((stat.threads, stat.start, stat.vsize, stat.rss), (7, 98765, 12_288_000, 300));
        }
    }

    #[test]
    fn our_own_is_read() {
        let stat = Stat::parse(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert_eq!(stat.pid, std::process::id());
        assert!(!stat.is_kernel_thread() && stat.start > 0);
    }

    #[test]
    fn a_cut_or_broken_line_is_refused() {
        let whole = line("sh");
        let last = whole.windows(5).position(|window| window == b" 300 ").unwrap();
        for length in 0..=last {
            assert!(Stat::parse(&whole[..length]).is_err(), "{length}");
        }
        for text in
            ["", "()", ")(", "1 (a) ", "1 (a) SS 1 1", "x (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"]
        {
            assert!(Stat::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            if let Ok(stat) = Stat::parse(&bytes) {
                prop_assert!(stat.comm.0.len() <= bytes.len());
            }
        }
    }
}
