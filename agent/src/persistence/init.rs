//! Older ways of init: inittab(5), runlevels, Upstart's jobs, inetd's services.

use super::lines::{base, contains, folder, lines, show, split_once, word, words};
use super::{Source, Start, Who};

pub(super) fn inittab(source: &Source<'_>) -> Vec<Start> {
    let entry = |(number, line): (u32, &[u8])| {
        let (_, rest) = split_once(line, b':')?;
        let (levels, rest) = split_once(rest, b':')?;
        let (action, command) = split_once(rest, b':')?;
        let command = command.strip_prefix(b"+").unwrap_or(command);
        let when = format!("init: {} at runlevels {}", show(action), show(levels));
        (!command.is_empty()).then(|| source.command(number, source.owner(), command, when))
    };
    lines(source.text).filter_map(entry).collect()
}

/// `/etc/rc2.d/S01x`, `/etc/runlevels/default/x`.
pub(super) fn runlevel(path: &[u8]) -> Option<String> {
    let above = base(folder(path));
    let name = base(path);
    let level = above.strip_prefix(b"rc").and_then(|rest| rest.strip_suffix(b".d"));
    match (level, name.first()) {
        (Some(level), Some(b'S')) => Some(format!("at runlevel {}", show(level))),
        // K stops it.
        (Some(_), _) => None,
        (None, _) => Some(format!("at runlevel {}", show(above))),
    }
}

/// `exec COMMAND` and `start on EVENT` of a job.
pub(super) fn upstart(source: &Source<'_>) -> Vec<Start> {
    let on = lines(source.text).find_map(|(_, line)| line.strip_prefix(b"start on ")).unwrap_or(b"an event");
    let exec = lines(source.text).filter_map(|(number, line)| Some((number, line.strip_prefix(b"exec ")?)));
    let when = format!("Upstart: {}", show(on));
    exec.map(|(number, command)| source.command(number, source.owner(), command, when.clone())).collect()
}

/// Lines of inetd.conf(5), and `server =` of xinetd's files.
pub(super) fn inetd(source: &Source<'_>) -> Vec<Start> {
    if contains(source.text, b"{") {
        return xinetd(source);
    }
    let entry = |(number, line): (u32, &[u8])| {
        let fields: Vec<&[u8]> = words(line).collect();
        let [service, _, protocol, _, user, program, ..] = fields.as_slice() else { return None };
        let command = fields.get(5..)?.join(&b' ');
        let user = split_once(user, b'.').map_or(*user, |(user, _)| user);
        let when = format!("on a connection to {} ({})", show(service), show(protocol));
        let known = program.starts_with(b"/");
        known.then(|| source.command(number, Who::User(user.to_vec()), &command, when))
    };
    lines(source.text).filter_map(entry).collect()
}

fn xinetd(source: &Source<'_>) -> Vec<Start> {
    let mut starts = Vec::new();
    let (mut service, mut user, mut server) = (Vec::new(), b"root".to_vec(), None);
    for (number, line) in lines(source.text) {
        let (key, rest) = word(line);
        let value = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii();
        match key {
            b"service" => service = value.to_vec(),
            b"user" => user = value.to_vec(),
            b"server" => server = Some((number, value.to_vec())),
            b"}" => {
                if let Some((number, command)) = server.take() {
                    let when = format!("on a connection to {}", show(&service));
                    starts.push(source.command(number, Who::User(user.clone()), &command, when));
                }
                user = b"root".to_vec();
            }
            _ => {}
        }
    }
    starts
}
