//! A host at work, made up and always the same: shells that call tools, builds, a web service, a log job.

use afterimage::event::{Action, BootId, Event, Exit, Flow, Fork, Image, Namespaces, ProcessId, Source};
use afterimage::text::Bytes;
use jiff::{SignedDuration, Timestamp};

const BOOT: BootId =
    BootId([0x5a, 0x17, 0xe2, 0x09, 0x33, 0xc1, 0x48, 0x7b, 0x9d, 0x60, 0xf2, 0x1e, 0x84, 0xab, 0x0c, 0x77]);
/// Process lives between two starts of a longer-lived shell.
const SHELL_LIVES: u64 = 40;
const TOOLS: [(&str, &str); 16] = [
    ("/usr/bin/grep", "-c|the|/usr/share/doc/#/copyright"),
    ("/usr/bin/sed", "s/#/x/"),
    ("/usr/bin/sha256sum", "/srv/data/part-#.bin"),
    ("/usr/bin/cut", "-d |-f1"),
    ("/usr/bin/git", "commit|-qm|change #"),
    ("/usr/bin/git", "status|--short"),
    (
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
        "-quiet|-imultiarch|x86_64-linux-gnu|unit#.c|-dumpbase|unit#.c|-O2|-o|/tmp/cc#.s",
    ),
    ("/usr/bin/x86_64-linux-gnu-as", "--64|-o|unit#.o|/tmp/cc#.s"),
    ("/usr/bin/python3.11", "-c|import json; print(json.dumps({'n': #}))"),
    ("/usr/bin/perl", "-e|print #"),
    ("/usr/bin/curl", "-s|http://192.0.2.7/v1/items/#"),
    ("/usr/bin/find", "/var/cache|-name|*.#"),
    ("/usr/bin/dash", "-c|test -e /run/lock/job-#"),
    ("/usr/bin/date", "-u|+%FT%TZ"),
    ("/usr/bin/basename", "/usr/share/doc/lib#-dev"),
    ("/usr/bin/tar", "cf|-|repo-#"),
];

/// Numbers without an end, the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The load, `rate` process lives a second.
pub(crate) struct Load {
    random: Random,
    rate: u64,
    lives: u64,
    nanos: u64,
    pid: u32,
    shell: ProcessId,
    seqs: [u64; 2],
    /// Events of processes that live at the same time, in the order of their times.
    later: std::collections::BTreeMap<(u64, u64), (ProcessId, Action)>,
    number: u64,
}

impl Load {
    /// A load that begins at its own beginning of time.
    pub(crate) fn new(rate: u64) -> Self {
        let shell = ProcessId { boot: BOOT, pid: 900, start: 500 };
        let later = std::collections::BTreeMap::new();
        Self {
            random: Random(1),
            rate,
            lives: 0,
            nanos: 10_000_000_000,
            pid: 1000,
            shell,
            seqs: [0; 2],
            later,
            number: 0,
        }
    }

    /// Gives the next life's events, and those of others that are due.
    pub(crate) fn next(&mut self, sink: &mut dyn FnMut(Event)) -> ProcessId {
        let gap = 2_000_000_000 / self.rate;
        self.nanos += self.random.below(gap) + 1;
        self.lives += 1;
        self.pid = if self.pid >= 4_194_000 { 300 } else { self.pid + 1 };
        let process = ProcessId { boot: BOOT, pid: self.pid, start: self.nanos / 10_000_000 };
        let (parent, lasts) = if self.lives % SHELL_LIVES == 1 {
            (ProcessId { boot: BOOT, pid: 900, start: 500 }, 30_000_000_000 / self.rate)
        } else {
            (self.shell, 800_000 + self.random.below(3_000_000))
        };
        let now = self.nanos;
        self.put(now, process, Action::Fork(Fork { parent: Some(parent), name: Bytes::from("bash") }));
        if self.lives % SHELL_LIVES == 1 {
            self.shell = process;
        }
        // One in seven is a subshell, which runs no other program.
        if self.random.below(7) > 0 {
            let image = self.image(parent);
            let flows = image.executable.as_slice().ends_with(b"curl");
            let at = now + 300_000 + self.random.below(200_000);
            self.put(at, process, Action::Exec(Box::new(image)));
            if flows {
                let port = u16::try_from(self.random.below(28_000)).unwrap_or_default();
                let local = ([10, 0, 0, 5], 32_768 + port).into();
                let flow = Flow { local, remote: ([192, 0, 2, 7], 80).into() };
                self.put(now + 700_000, process, Action::Connect(flow));
            }
        }
        let code = u8::from(self.random.below(12) == 0);
        self.put(now + lasts, process, Action::Exit(Exit { code, signal: 0 }));
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((nanos, _), (process, action)) = entry.remove_entry();
            let event = self.event(nanos, process, action);
            sink(event);
        }
        process
    }

    fn put(&mut self, nanos: u64, process: ProcessId, action: Action) {
        self.number += 1;
        self.later.insert((nanos, self.number), (process, action));
    }

    fn event(&mut self, nanos: u64, process: ProcessId, action: Action) -> Event {
        let cpu = u32::from(self.random.below(5) < 2);
        let seq = self.seqs.get_mut(usize::try_from(cpu).unwrap_or_default()).map_or(0, |seq| {
            *seq += 1;
            *seq
        });
        let boot = Timestamp::from_second(1_795_000_000).unwrap_or_default();
        let time = boot + SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or_default());
        Event { time, source: Source::Probe { cpu, seq }, process, action }
    }

    fn image(&mut self, parent: ProcessId) -> Image {
        let which = usize::try_from(self.random.below(16)).unwrap_or_default();
        let (path, args) = TOOLS.get(which).copied().unwrap_or(TOOLS[0]);
        let number = self.random.below(50_000).to_string();
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut all = vec![Bytes::from(name)];
        all.extend(args.split('|').map(|arg| Bytes::from(&arg.replace('#', &number))));
        let service = self.random.below(6);
        Image {
            parent: Some(parent),
            name: Bytes::from(name.get(..15).unwrap_or(name)),
            executable: Bytes::from(path),
            filename: Bytes::from(path),
            args: all,
            working_directory: Bytes::from(&format!("/srv/app/work-{}", self.random.below(9))),
            inode: 240_000 + u64::try_from(which).unwrap_or_default() * 37,
            device: 266_338_304,
            links: Some(1),
            uid: if service == 0 { 33 } else { 0 },
            gid: if service == 0 { 33 } else { 0 },
            cgroup: Bytes::from(&format!("/system.slice/app-{service}.service")),
            namespaces: Namespaces {
                pid: 4_026_531_836,
                mnt: 4_026_531_841,
                net: 4_026_531_840,
                user: 4_026_531_837,
            },
            ..Image::default()
        }
    }
}
