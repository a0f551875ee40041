//! Desktop entries that a session starts, and services that the bus starts on demand.

use super::lines::{base, lines, setting, show};
use super::{Source, Start, Who};

/// An entry of XDG's autostart folders.
pub(super) fn entry(source: &Source<'_>) -> Vec<Start> {
    let Some((line, command)) = key(source, b"[Desktop Entry]", b"Exec") else { return Vec::new() };
    let is = |name: &[u8], value: &[u8]| {
        key(source, b"[Desktop Entry]", name).is_some_and(|(_, found)| found.eq_ignore_ascii_case(value))
    };
    if is(b"Hidden", b"true") {
        return Vec::new();
    }
    let off = if is(b"X-GNOME-Autostart-enabled", b"false") { " (switched off)" } else { "" };
    vec![source.command(line, source.everybody(), command, format!("when a desktop session begins{off}"))]
}

/// A service of D-Bus.
pub(super) fn service(source: &Source<'_>) -> Vec<Start> {
    const GROUP: &[u8] = b"[D-BUS Service]";
    let Some((line, command)) = key(source, GROUP, b"Exec") else { return Vec::new() };
    let who = key(source, GROUP, b"User").map_or(source.everybody(), |(_, user)| Who::User(user.to_vec()));
    let name = key(source, GROUP, b"Name").map_or(base(source.path), |(_, name)| name);
    vec![source.command(line, who, command, format!("when somebody calls {} on the bus", show(name)))]
}

fn key<'a>(source: &Source<'a>, group: &[u8], wanted: &[u8]) -> Option<(u32, &'a [u8])> {
    let mut inside = false;
    for (number, line) in lines(source.text) {
        if line.starts_with(b"[") {
            inside = line == group;
        } else if inside && let Some((_, value)) = setting(line).filter(|(name, _)| *name == wanted) {
            return Some((number, value));
        }
    }
    None
}
