//! What a descriptor of the kernel's own kind holds, by the lines of `/proc/PID/fdinfo/N` (proc(5)) beyond the first
//! four: what an epoll instance waits for, which BPF program or map it is, whom a pidfd means, ...

use serde::Serialize;

use super::decimal;
use super::maps::hexadecimal;

/// Things listed of one descriptor; more are counted.
const MOST: usize = 4096;

/// What is behind a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Held {
    /// `epoll_create(2)`
    Epoll {
        /// What it waits for.
        watches: Vec<EpollWatch>,
    },
    /// `inotify_init(2)`
    Inotify {
        /// What it watches.
        watches: Vec<Watch>,
    },
    /// `fanotify_init(2)`
    Fanotify {
        /// What it watches.
        watches: Vec<Watch>,
    },
    /// `eventfd(2)`
    Eventfd {
        /// Its counter.
        count: u64,
    },
    /// `signalfd(2)`
    Signalfd {
        /// The signals it takes, bit 0 being signal 1.
        mask: u64,
    },
    /// `timerfd_create(2)`
    Timerfd {
        /// Which clock (`CLOCK_*`).
        clock: u32,
        /// Expirations that nobody has read.
        ticks: u64,
        /// Nanoseconds until the next one.
        value_ns: u64,
        /// Nanoseconds between two.
        interval_ns: u64,
    },
    /// `pidfd_open(2)`
    Pidfd {
        /// Whom it means, -1 when that has exited, 0 when it cannot be seen from here.
        pid: i64,
    },
    /// A BPF program.
    BpfProgram {
        /// The kernel's number of it.
        id: u32,
        /// `BPF_PROG_TYPE_*`
        program_type: u32,
        /// A hash of its instructions.
        tag: String,
        /// Whether it is compiled.
        jited: bool,
    },
    /// A BPF map.
    BpfMap {
        /// The kernel's number of it.
        id: u32,
        /// `BPF_MAP_TYPE_*`
        map_type: u32,
        /// Bytes of a key.
        key_size: u32,
        /// Bytes of a value.
        value_size: u32,
        /// How many there can be.
        max_entries: u32,
    },
    /// A BPF program's attachment.
    BpfLink {
        /// The kernel's number of it.
        id: u32,
        /// In the kernel's word.
        link_type: String,
        /// The program.
        program: u32,
    },
    /// `io_uring_setup(2)`
    IoUring {
        /// Requests that the kernel has not taken yet.
        submitted: u32,
        /// Answers that the program has not taken yet.
        answered: u32,
        /// The thread that polls for requests, -1 for none.
        poller: i64,
        /// Files registered with it, which need no descriptor any more.
        files: u32,
    },
}

/// One file that an epoll instance waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EpollWatch {
    /// The descriptor's number when it was added: it may be closed, or another, by now.
    pub fd: u32,
    /// `EPOLL*`
    pub events: u64,
    /// What the program gets back.
    pub data: u64,
    /// Inode of the file, where the kernel says it.
    pub inode: Option<u64>,
    /// Device number of its file system.
    pub device: Option<u64>,
}

/// One mark of inotify or fanotify.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Watch {
    /// Of a file; none of a mount or of a file system.
    pub inode: Option<u64>,
    /// Device number of the file system.
    pub device: Option<u64>,
    /// Of a mount.
    pub mount: Option<u64>,
    /// Events.
    pub mask: u64,
    /// Events that are ignored.
    pub ignored: Option<u64>,
}

impl Held {
    /// By what the descriptor leads to (`anon_inode:[eventpoll]`) and its `fdinfo`. None of an ordinary file, or when
    /// the kernel says too little.
    pub fn parse(target: &[u8], info: &[u8]) -> Option<Self> {
        let name = target.strip_prefix(b"anon_inode:").unwrap_or(target);
        let lines = || info.split(|&byte| byte == b'\n');
        let text = |key: &str| {
            lines()
                .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
                .map(<[u8]>::trim_ascii)
        };
        let hex = |key| text(key).and_then(hexadecimal);
        Some(match name {
            b"[eventpoll]" => Self::Epoll { watches: lines().filter_map(epoll_watch).take(MOST).collect() },
            b"inotify" => Self::Inotify { watches: watches(info, b"inotify ") },
            b"[fanotify]" => Self::Fanotify { watches: watches(info, b"fanotify ") },
            b"[eventfd]" => Self::Eventfd { count: hex("eventfd-count")? },
            b"[signalfd]" => Self::Signalfd { mask: hex("sigmask")? },
            b"[timerfd]" => Self::Timerfd {
                clock: number(text("clockid")?)?,
                ticks: number(text("ticks")?)?,
                value_ns: nanoseconds(text("it_value")?)?,
                interval_ns: nanoseconds(text("it_interval")?)?,
            },
            b"[pidfd]" | b"pidfd" => Self::Pidfd { pid: signed(text("Pid")?)? },
            b"bpf-prog" => Self::BpfProgram {
                id: number(text("prog_id")?)?,
                program_type: number(text("prog_type")?)?,
                tag: String::from_utf8_lossy(text("prog_tag").unwrap_or_default()).into_owned(),
                jited: text("prog_jited") == Some(b"1"),
            },
            b"bpf-map" => Self::BpfMap {
                id: number(text("map_id")?)?,
                map_type: number(text("map_type")?)?,
                key_size: number(text("key_size")?)?,
                value_size: number(text("value_size")?)?,
                max_entries: number(text("max_entries")?)?,
            },
            b"bpf_link" | b"bpf-link" => Self::BpfLink {
                id: number(text("link_id")?)?,
                link_type: String::from_utf8_lossy(text("link_type").unwrap_or_default()).into_owned(),
                program: text("prog_id").and_then(number).unwrap_or(0),
            },
            b"[io_uring]" => Self::IoUring {
                submitted: waiting(&text, "SqTail", "SqHead")?,
                answered: waiting(&text, "CqTail", "CqHead")?,
                poller: text("SqThread").and_then(signed).unwrap_or(-1),
                files: text("UserFiles").and_then(number).unwrap_or(0),
            },
            _ => return None,
        })
    }
}

/// `tfd: 5 events: 19 data: 5 pos:0 ino:61af sdev:7`
fn epoll_watch(line: &[u8]) -> Option<EpollWatch> {
    let mut fields =
        line.strip_prefix(b"tfd:")?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let mut watch = EpollWatch { fd: fields.next().and_then(decimal)?, ..EpollWatch::default() };
    while let Some(field) = fields.next() {
        match field {
            b"events:" => watch.events = fields.next().and_then(hexadecimal)?,
            b"data:" => watch.data = fields.next().and_then(hexadecimal)?,
            _ => {
                if let Some(inode) = field.strip_prefix(b"ino:") {
                    watch.inode = hexadecimal(inode);
                } else if let Some(device) = field.strip_prefix(b"sdev:") {
                    watch.device = hexadecimal(device);
                }
            }
        }
    }
    Some(watch)
}

/// `inotify wd:3 ino:9e7e sdev:800013 mask:800afce ...`, `fanotify mnt_id:12 mflags:40 mask:38 ignored_mask:0`
fn watches(info: &[u8], prefix: &[u8]) -> Vec<Watch> {
    let marks = info.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(prefix));
    // The first line of fanotify says how it was made.
    let marks = marks.filter(|mark| mark.windows(5).any(|part| part == b"mask:"));
    marks
        .map(|mark| {
            let value = |key: &[u8]| {
                mark.split(|&byte| byte == b' ')
                    .find_map(|field| field.strip_prefix(key))
                    .and_then(hexadecimal)
            };
            Watch {
                inode: value(b"ino:"),
                device: value(b"sdev:"),
                mount: value(b"mnt_id:"),
                mask: value(b"mask:").unwrap_or(0),
                ignored: value(b"ignored_mask:"),
            }
        })
        .take(MOST)
        .collect()
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    decimal(digits)
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => decimal(digits).map(|value: i64| -value),
        None => decimal(text),
    }
}

/// `(1, 500)`: seconds and nanoseconds.
fn nanoseconds(text: &[u8]) -> Option<u64> {
    let inner = text.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut parts = inner.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let seconds: u64 = decimal(parts.next()?)?;
    let rest: u64 = decimal(parts.next()?)?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

fn waiting<'a>(text: &impl Fn(&str) -> Option<&'a [u8]>, tail: &str, head: &str) -> Option<u32> {
    let value = |key| text(key).and_then(decimal::<u32>);
    Some(value(tail)?.wrapping_sub(value(head)?))
}

#[cfg(test)]
#[path = "held_test.rs"]
mod tests;
