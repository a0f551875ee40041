//! Tables of cron and anacron (crontab(5), anacrontab(5)).

use super::grammar::is_assignment;
use super::lines::{base, lines, setting, show, split_once, word};
use super::{Source, Start, Who};

/// A table; `named`: each line says as whom. Else the file's name does (a user's own table).
pub(super) fn table(source: &Source<'_>, named: bool) -> Vec<Start> {
    lines(source.text).filter_map(|(number, line)| entry(source, named, number, line)).collect()
}

fn entry(source: &Source<'_>, named: bool, number: u32, line: &[u8]) -> Option<Start> {
    let user = Who::User(base(source.path).to_vec());
    if let Some((name, value)) = setting(line).filter(|(name, _)| is_name(name)) {
        let assignment = [name, b"=", value].concat();
        let who = if named { Who::User(b"every user of this table".to_vec()) } else { user };
        return hooks(name, value)
            .then(|| source.command(number, who, &assignment, "with each job of this table"));
    }
    let (when, rest) = schedule(line)?;
    let (who, command) = if named {
        let (user, rest) = word(rest);
        (Who::User(user.to_vec()), rest)
    } else {
        (user, rest)
    };
    (!command.is_empty()).then(|| source.command(number, who, command, when))
}

fn is_name(name: &[u8]) -> bool {
    is_assignment(&[name, b"="].concat())
}

/// Whether a variable changes what the jobs run.
fn hooks(name: &[u8], value: &[u8]) -> bool {
    let ordinary = [&b"/bin/sh"[..], b"/bin/bash", b"/usr/bin/bash", b"/bin/dash"];
    name.starts_with(b"LD_")
        || name == b"BASH_ENV"
        || (name == b"SHELL" && !ordinary.contains(&super::lines::unquoted(value)))
}

/// When, in words, and what follows.
fn schedule(line: &[u8]) -> Option<(String, &[u8])> {
    if let Some(rest) = line.strip_prefix(b"@") {
        let (name, rest) = word(rest);
        let when = match name {
            b"reboot" => "at every start of cron (boot)".to_owned(),
            b"yearly" | b"annually" | b"monthly" | b"weekly" | b"daily" | b"midnight" | b"hourly" => {
                show(name)
            }
            _ => return None,
        };
        return Some((when, rest));
    }
    let mut fields = Vec::new();
    let mut rest = line;
    for _ in 0..5 {
        let (field, after) = word(rest);
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"*,/-~".contains(byte);
        if field.is_empty() || !field.iter().all(known) {
            return None;
        }
        fields.push(field);
        rest = after;
    }
    Some((words(&fields), rest))
}

/// The commonest schedules as people say them, the others as they are.
fn words(fields: &[&[u8]]) -> String {
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u32>().ok();
    match fields {
        [b"*" | b"*/1", b"*", b"*", b"*", b"*"] => "every minute".to_owned(),
        [minute, b"*", b"*", b"*", b"*"] if minute.starts_with(b"*/") => {
            format!("every {} minutes", show(split_once(minute, b'/').unwrap_or_default().1))
        }
        [minute, hour, b"*", b"*", b"*"] if number(minute).is_some() && number(hour).is_some() => {
            format!(
                "daily at {:02}:{:02}",
                number(hour).unwrap_or_default(),
                number(minute).unwrap_or_default()
            )
        }
        _ => format!("cron schedule {}", show(&fields.join(&b' '))),
    }
}

/// Anacron's table: period, delay, name, command.
pub(super) fn anacron(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        let (period, rest) = word(line);
        let (delay, rest) = word(rest);
        let (_, command) = word(rest);
        let days = period.iter().all(u8::is_ascii_digit) || period.starts_with(b"@");
        let known = days && !command.is_empty() && delay.iter().all(u8::is_ascii_digit);
        let unit = if period.starts_with(b"@") { "" } else { " days" };
        let when = format!("every {}{unit}, {} minutes after the start", show(period), show(delay));
        known.then(|| source.command(number, source.owner(), command, when))
    };
    lines(source.text).filter_map(entry).collect()
}
