//! Commands of interfaces(5), and mail that is piped into programs (aliases(5), .forward).

use super::lines::{contains, joined, lines, show, split_once, unquoted, word};
use super::{Source, Start};

pub(super) fn interfaces(source: &Source<'_>) -> Vec<Start> {
    let mut interface = Vec::new();
    let mut starts = Vec::new();
    for (number, line) in joined(source.text) {
        let (key, value) = word(&line);
        match key {
            b"iface" => interface = word(value).0.to_vec(),
            b"up" | b"pre-up" | b"post-up" | b"down" | b"pre-down" | b"post-down" if !value.is_empty() => {
                let when = format!("{} of the network interface {}", show(key), show(&interface));
                starts.push(source.command(number, source.owner(), value, when));
            }
            _ => {}
        }
    }
    starts
}

pub(super) fn mail(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in lines(source.text).filter(|(_, line)| contains(line, b"|")) {
        let to = split_once(line, b':').map_or(line, |(_, value)| value.trim_ascii());
        if let Some(command) = unquoted(to).strip_prefix(b"|") {
            let command = unquoted(command.trim_ascii());
            if command.is_empty() {
                continue;
            }
            starts.push(source.command(number, source.everybody(), command, "when mail arrives"));
        }
    }
    starts
}
