//! Modules that are loaded into the kernel, and programs that the kernel itself starts.

use super::lines::{joined, lines, setting, show, word};
use super::{Source, Start};

/// modules-load.d(5), /etc/modules.
pub(super) fn list(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        (!line.starts_with(b";")).then(|| {
            let what = [b"module ", word(line).0].concat();
            source.thing(number, source.owner(), &what, None, "at boot, into the kernel")
        })
    };
    lines(source.text).filter_map(entry).collect()
}

/// `install MODULE COMMAND` and `remove MODULE COMMAND` of modprobe.d(5).
pub(super) fn modprobe(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in joined(source.text) {
        let (key, rest) = word(&line);
        let (module, command) = word(rest);
        let when = match key {
            b"install" => format!("when the kernel module {} is asked for", show(module)),
            b"remove" => format!("when the kernel module {} is removed", show(module)),
            _ => continue,
        };
        if !command.is_empty() {
            starts.push(source.command(number, source.owner(), command, when));
        }
    }
    starts
}

/// Settings of the kernel that name a program (sysctl.d(5)).
pub(super) fn sysctl(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        let (key, value) = setting(line.strip_prefix(b"-").unwrap_or(line))?;
        let key: Vec<u8> = key.iter().map(|&byte| if byte == b'/' { b'.' } else { byte }).collect();
        let (command, when) = match key.as_slice() {
            b"kernel.core_pattern" => (value.strip_prefix(b"|")?, "when a process crashes"),
            b"kernel.modprobe" => (value, "when the kernel wants a module"),
            b"kernel.hotplug" => (value, "on a device event"),
            b"kernel.poweroff_cmd" => (value, "when the kernel powers off"),
            _ => return None,
        };
        Some(source.command(number, source.owner(), command, when))
    };
    lines(source.text).filter_map(entry).collect()
}
