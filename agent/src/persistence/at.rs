//! Jobs of at and batch (at(1)): a shell script with the user in a comment and the time in its name.

use super::lines::{base, contains, split_once};
use super::{Source, Start, Who};

pub(super) fn job(source: &Source<'_>) -> Vec<Start> {
    let text = source.text;
    if !contains(text.get(..text.len().min(256)).unwrap_or_default(), b"# atrun uid=") {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let who = lines.iter().find_map(|line| {
        let (user, _) = split_once(line.strip_prefix(b"# mail ")?, b' ')?;
        Some(user.to_vec())
    });
    let who = Who::User(who.unwrap_or_else(|| b"the uid in its header".to_vec()));
    // What the user asked for stands after the environment and the change into the folder.
    let head = lines.iter().rposition(|line| line.trim_ascii() == b"}").map_or(0, |at| at.saturating_add(1));
    let mut starts = Vec::new();
    for (number, line) in (1_u32..).zip(&lines).skip(head) {
        let line = line.trim_ascii();
        let marks = line.is_empty() || line.starts_with(b"#") || contains(line, b"marcinDELIMITER");
        if !marks {
            starts.push(source.command(number, who.clone(), line, time(base(source.path))));
        }
    }
    starts
}

/// `a0000101a2b3c4`: queue, number of the job, minutes since 1970.
fn time(name: &[u8]) -> String {
    let minutes =
        name.get(6..14).and_then(|hex| i64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
    let time = minutes.and_then(|minutes| jiff::Timestamp::from_second(minutes.checked_mul(60)?).ok());
    time.map_or("once, at a time that its name does not tell".to_owned(), |time| format!("once, at {time}"))
}
