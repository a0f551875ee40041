//! Scripts in logrotate's settings (logrotate(8)).

use super::lines::{lines, show};
use super::{Source, Start};

const BEGINS: [&[u8]; 5] = [b"prerotate", b"postrotate", b"firstaction", b"lastaction", b"preremove"];

/// Where a script began, of which kind it is, and its lines so far.
type Script<'a> = (u32, &'a [u8], Vec<&'a [u8]>);

pub(super) fn scripts(source: &Source<'_>) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    let mut open: Option<Script<'_>> = None;
    for (number, line) in lines(source.text) {
        match &mut open {
            Some((begun, kind, text)) if line == b"endscript" => {
                let command = text.join(&b'\n');
                let when = format!("logrotate: {}, usually daily", show(kind));
                starts.push(source.command(*begun, source.owner(), &command, when));
                open = None;
            }
            Some((_, _, text)) => text.push(line),
            None => {
                open = BEGINS.iter().find(|begin| line == **begin).map(|begin| (number, *begin, Vec::new()));
            }
        }
    }
    starts
}
