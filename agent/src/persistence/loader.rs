//! Libraries that the dynamic loader brings into programs (ld.so(8), ldconfig(8)).

use super::lines::{lines, unquoted, word};
use super::{Source, Start, Who};

/// `/etc/ld.so.preload`: names, separated by spaces, colons and line ends.
pub(super) fn preload(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in lines(source.text) {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        for name in line.split(|byte| b" \t:".contains(byte)).filter(|name| !name.is_empty()) {
            starts.push(source.thing(number, Who::Everybody, name, Some(name), "with every program"));
        }
    }
    starts
}

/// Folders in which libraries are looked for.
pub(super) fn folders(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    for (number, line) in lines(source.text) {
        let (first, _) = word(line);
        if matches!(first, b"include" | b"hwcap") {
            continue;
        }
        for name in line.split(|byte| b" \t:,".contains(byte)).filter(|name| name.starts_with(b"/")) {
            let when = "with every program that needs a library in this folder";
            starts.push(source.thing(number, Who::Everybody, name, Some(name), when));
        }
    }
    starts
}

/// `include PATTERN`.
pub(super) fn includes(source: &Source<'_>) -> Vec<Vec<u8>> {
    let base = super::lines::folder(source.path);
    let named = lines(source.text).filter_map(|(_, line)| {
        let (first, pattern) = word(line);
        (first == b"include" && !pattern.is_empty()).then(|| unquoted(pattern))
    });
    named
        .map(|name| if name.starts_with(b"/") { name.to_vec() } else { [base, b"/", name].concat() })
        .collect()
}
