//! One line for one event.

use std::net::SocketAddr;

use jiff::Timestamp;

use crate::event::call::{Call, What};
use crate::event::touch::{Deed, Place, Touch};
use crate::event::{Action, Event, Image};
use crate::text::Bytes;

/// The longest command line that is shown on one line, in characters.
const COMMAND_MAX: usize = 160;

/// `event` in one line, every byte from outside escaped.
pub fn event(event: &Event) -> String {
    let (word, rest) = match &event.action {
        Action::Exec(image) => ("exec", program(image)),
        Action::Running(image) => ("running", program(image)),
        Action::Fork(fork) => {
            let parent = fork.parent.map_or_else(|| "outside".to_owned(), |parent| parent.pid.to_string());
            ("fork", format!("{} by {parent}", fork.name))
        }
        Action::Exit(exit) => ("exit", ending(exit.code, exit.signal)),
        Action::Connect(flow) => ("connect", format!("tcp to {}", peer(flow.remote))),
        Action::Accept(flow) => ("accept", format!("tcp from {} at {}", peer(flow.remote), peer(flow.local))),
        Action::Listen(flow) => ("listen", format!("tcp at {}", peer(flow.local))),
        Action::Datagram(flow) => ("datagram", format!("udp to {}", peer(flow.remote))),
        Action::Close(closed) => (
            "close",
            format!(
                "tcp with {}, {} bytes out, {} in",
                peer(closed.flow.remote),
                closed.sent,
                closed.received
            ),
        ),
        Action::Question(asked) => {
            ("question", format!("{} (type {}) to {}", asked.name, asked.kind, peer(asked.flow.remote)))
        }
        Action::Call(call) => ("call", asked(call)),
        Action::Touch(touch) => ("touch", touched(touch)),
        Action::Stash(kept) => {
            ("stash", format!("{} sha256 {} ({} bytes)", kept.executable, kept.sha256, kept.size))
        }
        Action::Skip(skipped) => ("skip", format!("{} ({})", skipped.executable, skipped.reason)),
        // The process is in the history; only its file is not in the stash.
        Action::Loss(loss) if loss.place == "stash" => {
            ("missed", format!("{} executable(s) since {}: {}", loss.count, time(loss.since), loss.detail))
        }
        Action::Loss(loss) => {
            ("LOSS", format!("{} {} since {}: {}", loss.count, loss.place, time(loss.since), loss.detail))
        }
        Action::Gap(gap) => ("GAP", format!("since {}: {}", time(gap.since), gap.reason)),
        Action::Agent(agent) => ("agent", format!("{}: {}", agent.state, agent.detail)),
    };
    format!("{}  {word:<8}  {:>7}  {rest}", time(event.time), event.process.pid)
}

/// A time to the microsecond, UTC.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Arguments as one command line: those with spaces or quotes in quotes, cut where it grows too long.
pub fn command(args: &[Bytes]) -> String {
    let mut line = String::new();
    for argument in args {
        if !line.is_empty() {
            line.push(' ');
        }
        let shown = argument.to_string();
        if shown.is_empty() || shown.contains([' ', '"', '\'']) {
            line.extend(["'", &shown.replace('\'', "'\\''"), "'"]);
        } else {
            line.push_str(&shown);
        }
        if line.chars().count() > COMMAND_MAX {
            return format!("{}…", line.chars().take(COMMAND_MAX).collect::<String>());
        }
    }
    line
}

/// How a process ended, in words.
pub fn ending(code: u8, signal: u8) -> String {
    if signal == 0 { format!("exit code {code}") } else { format!("killed by signal {signal}") }
}

fn asked(call: &Call) -> String {
    let Call { path, target, .. } = call;
    let number = call.number.unwrap_or(0);
    let words = match call.what {
        What::Memfd => format!("file in memory {path}"),
        What::Ptrace => format!("traces pid {number}"),
        What::WriteMemory => format!("wrote into the memory of pid {number}"),
        What::LoadProgram => format!("loaded the BPF program {path} (id {number})"),
        What::LoadModule => format!("loaded the kernel module {path}"),
        What::Mount => format!("mounted {path} at {target}"),
        What::Unmount => format!("took the mount {path} off"),
        What::Namespace => format!("other namespaces (flags {number:#x})"),
        What::BecomeRoot => "became root".to_owned(),
        What::Chmod => format!("made executable (mode {number:o}) {path}"),
        What::Rename => format!("renamed {path} to {target}"),
        What::Unlink => format!("deleted {path}"),
        What::IoUring => "set up an io_uring".to_owned(),
    };
    if call.compat { format!("{words} (32-bit call)") } else { words }
}

fn touched(touch: &Touch) -> String {
    let path = &touch.path;
    let mut words = match touch.deed {
        Deed::Found => format!("found in a new directory {path}"),
        Deed::Created => format!("created {path}"),
        Deed::Written => format!("wrote to {path}"),
        Deed::RenamedIn => format!("renamed something to {path}"),
        Deed::RenamedOut => format!("renamed {path} away"),
        Deed::Deleted => format!("deleted {path}"),
        Deed::Attributes => format!("changed the attributes of {path}"),
        Deed::Truncated => {
            format!("cut {path} from {} to {} bytes", touch.before.unwrap_or(0), touch.after.unwrap_or(0))
        }
    };
    words.push_str(match touch.place {
        Place::Persistence => " (persistence)",
        Place::Log => " (log)",
    });
    if touch.count > 1 {
        words.extend([", ", &touch.count.to_string(), " times"]);
    }
    if let Some(writers) = touch.writers {
        words.extend([", one of ", &writers.to_string(), " that wrote to it at that time"]);
    }
    if touch.unknown {
        words.push_str(", by an unknown process");
    }
    words
}

fn program(image: &Image) -> String {
    let mut text = format!("{}  [{}] uid {}", image.executable, command(&image.args), image.uid);
    if image.links == Some(0) {
        text.push_str("  NO FILE (memfd, or deleted before it ran)");
    }
    text
}

fn peer(address: SocketAddr) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BootId, Exit, Flow, ProcessId, Source};

    fn line(action: Action) -> String {
        let process = ProcessId { boot: BootId([0; 16]), pid: 42, start: 1 };
        let time = "2026-11-20T14:03:27.518236914Z".parse().unwrap();
        event(&Event { time, source: Source::Scan, process, action })
    }

    #[test]
    fn an_exec_shows_file_arguments_user_and_what_is_odd_and_cannot_steer_the_terminal() {
        let image = Image {
            executable: Bytes::from("/tmp/\x1b[2J"),
            args: [&b"x"[..], b"a b", b""].map(Bytes::from).to_vec(),
            uid: 33,
            links: Some(0),
            ..Image::default()
        };
        let text = line(Action::Exec(Box::new(image)));
        assert!(text.starts_with(
            "2026-11-20T14:03:27.518236Z  exec           42  /tmp/\\x1B[2J  [x 'a b' ''] uid 33"
        ));
        assert!(text.ends_with("NO FILE (memfd, or deleted before it ran)"), "{text}");
    }

    #[test]
    fn ends_and_connections_are_words() {
        assert!(line(Action::Exit(Exit { code: 3, signal: 0 })).ends_with("exit code 3"));
        assert!(line(Action::Exit(Exit { code: 0, signal: 9 })).ends_with("killed by signal 9"));
        let flow = Flow { local: "10.0.0.1:0".parse().unwrap(), remote: "[::1]:80".parse().unwrap() };
        assert!(line(Action::Connect(flow)).ends_with("tcp to [::1]:80"));
    }

    #[test]
    fn a_deed_says_where_and_how_often_and_by_whom_it_may_be() {
        let touch = Touch {
            deed: Deed::Truncated,
            place: Place::Log,
            path: Bytes::from("/var/log/\x1bx"),
            before: Some(1000),
            after: Some(0),
            count: 2,
            writers: Some(3),
            unknown: true,
        };
        let text = line(Action::Touch(Box::new(touch)));
        assert!(
            text.ends_with(
                "cut /var/log/\\x1Bx from 1000 to 0 bytes (log), 2 times, one of 3 that wrote to it at that time, by an \
                 unknown process"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_command_line_without_end_is_cut() {
        let args = vec![Bytes::from(&[b'a'; 5000])];
        assert!(command(&args).chars().count() <= COMMAND_MAX + 1);
    }
}
