//! One boot: QEMU without acceleration, its serial console watched for life and for the verdict.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{command, show};

/// A machine that says nothing for this long hangs: even in emulation /init prints a line for every step.
const SILENCE: Duration = Duration::from_secs(60);
/// The last line of a good run, and only of a good one.
const VERDICT: &str = "init: everything passed";
const LONGEST_LINE: u64 = 64 * 1024;

/// A machine that boots `image` with `initramfs`.
pub struct Machine<'a> {
    pub image: &'a Path,
    pub initramfs: &'a Path,
    /// MiB of memory.
    pub memory: u32,
    /// What /init is told.
    pub argument: &'static str,
    /// A file that is its disk.
    pub disk: Option<&'a Path>,
    /// It is given up after this time.
    pub deadline: Duration,
}

/// The command that boots it.
fn boot_command(machine: &Machine<'_>) -> Command {
    let Machine { image, initramfs, memory, argument, disk, .. } = machine;
    let mut qemu = command("qemu-system-x86_64");
    // Nested KVM does not work with these kernels everywhere; the emulation does.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-machine", "q35"])
        .args(["-m", &memory.to_string()])
        .args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", format!("console=ttyS0 quiet panic=-1 {argument}").trim_end()]);
    if let Some(disk) = disk {
        qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
    }
    qemu
}

/// Boots, shows what the machine says, and fails unless its last word is the verdict; what it said.
pub fn boot(machine: &Machine<'_>) -> Result<Vec<String>> {
    let mut qemu = boot_command(machine);
    let shown = show(&qemu);
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64: `cargo xtask setup` installs it")?;
    let console = child.stdout.take().context("no console")?;
    let verdict = watch(console, SILENCE, machine.deadline);
    end(&mut child)?;
    verdict.with_context(|| format!("to see it again: {shown}"))
}

fn end(child: &mut Child) -> Result<()> {
    if child.try_wait()?.is_none() {
        child.kill()?;
    }
    child.wait()?;
    Ok(())
}

fn watch(console: impl Read + Send + 'static, silence: Duration, deadline: Duration) -> Result<Vec<String>> {
    let begun = Instant::now();
    let lines = lines(console);
    let (mut passed, mut said) = (false, Vec::new());
    loop {
        if begun.elapsed() >= deadline {
            bail!("not done after {deadline:?}");
        }
        let patience = silence.min(deadline.saturating_sub(begun.elapsed()));
        match lines.recv_timeout(patience) {
            Ok(line) => {
                println!("  {line}");
                passed |= line == VERDICT;
                said.push(line);
            }
            Err(RecvTimeoutError::Disconnected) if passed => return Ok(said),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine went off without the verdict"),
            Err(RecvTimeoutError::Timeout) if patience < silence => {}
            Err(RecvTimeoutError::Timeout) => bail!("the machine has been silent for {silence:?}: it hangs"),
        }
    }
}

/// The console's lines, without what would steer a terminal.
fn lines(console: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1024);
    thread::spawn(move || {
        let mut reader = BufReader::new(console);
        let mut line = Vec::new();
        while reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let text: String = text.chars().filter(|character| !character.is_control()).collect();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn only_the_whole_verdict_line_passes() {
        assert!(watch(says(&format!("boot\r\n{VERDICT}\r\noff\n")), LONG, LONG).is_ok());
        for console in ["", "boot\n", "init: everything passed?\n", "init: FAILED init: everything passed\n"]
        {
            assert!(watch(says(console), LONG, LONG).is_err(), "{console}");
        }
    }

    #[test]
    fn silence_and_an_endless_talker_are_given_up() {
        let (silent, _writer) = std::io::pipe().unwrap();
        assert!(watch(silent, SHORT, LONG).unwrap_err().to_string().contains("silent"));
        let talker = BufReader::new(std::io::repeat(b'\n'));
        assert!(watch(talker, LONG, SHORT).unwrap_err().to_string().contains("not done"));
    }

    fn says(text: &str) -> Cursor<Vec<u8>> {
        Cursor::new(text.as_bytes().to_vec())
    }
}
