//! The kernel's own state. Where the agent is not in the initial PID namespace, what belongs to the whole machine is
//! none of its business, and said to be refused.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Context;
use super::attempts::{Attempts, Found, Miss, read_bounded};
use crate::bundle::Name;
use crate::bundle::writer::Error;
use crate::plan::Step;

mod devices;
mod programs;
mod sysctl;
mod texts;

use devices::CLASSES;
use texts::TEXTS;

/// `kallsyms` of a kernel with many modules has some 20 MiB.
const TEXT_MAX: u64 = 64 << 20;
/// The kernel's log buffer is 16 MiB at most on common kernels.
const LOG_MAX: usize = 32 << 20;
/// One record of `/dev/kmsg` (CONSOLE_EXT_LOG_MAX).
const RECORD_MAX: usize = 8192;

#[expect(clippy::disallowed_methods, reason = "they are in /proc, the kernel's")]
pub(super) fn run(context: &mut Context<'_>, attempts: &mut Attempts<'_>) -> Result<(), Error> {
    let whole = context.job.facts.initial_pid_namespace;
    let allowed = |machine: bool| {
        if machine && !whole {
            return Err(Miss::refused(
                "it belongs to the whole machine, and the agent lives in a PID namespace of its own",
            ));
        }
        Ok(())
    };
    attempts.expect(TEXTS.len() + CLASSES.len() + 4);
    for text in TEXTS {
        let folder: &[&str] = if text.symbols { &["kernel", "symbols"] } else { &["kernel"] };
        attempts.take(text.name, &Name::data(&[folder, &[text.name]].concat()), |_| {
            allowed(text.machine)?;
            // One that begins with `/` stands for itself.
            let path = context.job.places.proc.join(text.path);
            let file = File::open(path).map_err(|error| Miss::at("open", &error).of_the_living())?;
            let (bytes, all) = read_bounded(file, TEXT_MAX).map_err(|error| Miss::at("read", &error))?;
            Ok(Found::bytes(bytes)
                .lacking((!all).then(|| Miss::partial(format!("the first {TEXT_MAX} bytes")))))
        })?;
    }
    attempts.take("sysctl", &Name::data(&["kernel", "sysctl"]), |room| {
        sysctl::values(&context.job.places.proc, room.deadline)
    })?;
    for class in CLASSES {
        let file = format!("{}.jsonl", class.name);
        attempts.take(file.as_str(), &Name::data(&["kernel", &file]), |room| {
            allowed(true)?;
            devices::things(Path::new("/sys"), class, room.deadline)
        })?;
    }
    attempts.take("bpf-programs.jsonl", &Name::data(&["kernel", "bpf-programs.jsonl"]), |room| {
        allowed(true)?;
        programs::all(room.deadline)
    })?;
    attempts.take("log", &Name::data(&["kernel", "kmsg"]), |_| {
        allowed(true)?;
        kernel_log()
    })?;
    if context.plan.steps.contains(&Step::Ram) {
        return Ok(());
    }
    let why = allowed(true).err().unwrap_or_else(|| {
        Miss::refused("the memory of the whole machine is taken with the profile `full` only")
    });
    attempts.miss("whole memory (kcore)", why)
}

/// The records of `/dev/kmsg`, one read each, without waiting for the next.
#[expect(clippy::disallowed_methods, reason = "it is the kernel's log")]
fn kernel_log() -> Result<Found<'static>, Miss> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut log = options.open("/dev/kmsg").map_err(|error| Miss::at("open /dev/kmsg", &error))?;
    let (mut bytes, mut record) = (Vec::new(), vec![0; RECORD_MAX]);
    while bytes.len() < LOG_MAX {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(record.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            // EPIPE: records were overwritten while we read; the next read goes on with the oldest there is.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(Miss::at("read /dev/kmsg", &error)),
        }
    }
    let lack = (bytes.len() >= LOG_MAX).then(|| Miss::partial(format!("the first {LOG_MAX} bytes")));
    Ok(Found::bytes(bytes).lacking(lack))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::Step;
    use crate::bundle::Outcome;

    #[test]
    fn in_a_namespace_of_its_own_the_machine_is_refused_in_words() {
        let taken = testing::take(&testing::job(), &testing::tree(&[]), &[], &[Step::Kernel]);
        for subject in ["modules", "kallsyms", "log", "partitions", "pci.jsonl", "whole memory (kcore)"] {
            let (outcome, detail) = taken.outcome(subject);
            assert_eq!(outcome, Outcome::Refused);
            assert!(detail.contains("namespace"), "{detail}");
        }
        let version = std::fs::read("/proc/version").unwrap();
        assert_eq!(taken.members["kernel/version"], version);
        assert!(!taken.members.contains_key("kernel/modules"));
    }
}
