//! Units of systemd (systemd.unit(5), systemd.service(5), ...), their drop-ins and links.

use super::lines::{base, contains, folder, joined, setting, show, words};
use super::{Source, Start, Who};

/// What starts a command, and when.
const COMMANDS: &[(&[u8], &str)] = &[
    (b"ExecStart", "starts"),
    (b"ExecStartPre", "starts"),
    (b"ExecStartPost", "has started"),
    (b"ExecCondition", "starts"),
    (b"ExecReload", "is reloaded"),
    (b"ExecStop", "stops"),
    (b"ExecStopPost", "has stopped"),
];

/// What starts another unit.
const EVENTS: &[(&[u8], &[u8])] =
    &[(b"Timer", b"On"), (b"Socket", b"Listen"), (b"Path", b"Path"), (b"Path", b"DirectoryNotEmpty")];

type Setting = (u32, Vec<u8>, Vec<u8>, Vec<u8>);

pub(super) fn unit(source: &Source<'_>) -> Vec<Start> {
    let settings = settings(source.text);
    let name = name(source.path);
    let who = who(source, &settings, name);
    let install = wanted(&settings);
    let mut starts = Vec::new();
    for (line, section, key, value) in &settings {
        if let Some((_, event)) = COMMANDS.iter().find(|(command, _)| key == command)
            && !value.is_empty()
        {
            let runs = value.iter().position(|byte| !b"-@:+!|".contains(byte)).unwrap_or(value.len());
            // `+` and `!` take the command out of User=.
            let raised =
                value.get(..runs).is_some_and(|marks| marks.contains(&b'+') || marks.contains(&b'!'));
            let as_whom = if raised { source.owner() } else { who.clone() };
            let when = format!("when {} {event}{install}", show(name));
            starts.push(source.command(*line, as_whom, value.get(runs..).unwrap_or_default(), when));
        }
        let loads = [&b"LD_PRELOAD"[..], b"LD_AUDIT"].iter().any(|variable| contains(value, variable));
        if section == b"Service" && key == b"Environment" && loads {
            let when = format!("when {} starts{install}", show(name));
            starts.push(source.command(*line, who.clone(), value, when));
        }
    }
    starts.extend(triggered(source, &settings, name, &install));
    starts
}

/// Of a timer, socket or path: what it starts.
fn triggered(source: &Source<'_>, settings: &[Setting], name: &[u8], install: &str) -> Option<Start> {
    let stem = name.get(..name.iter().rposition(|&byte| byte == b'.')?)?;
    let on: Vec<String> = settings
        .iter()
        .filter(|(_, section, key, _)| {
            EVENTS.iter().any(|(of, start)| section == of && key.starts_with(start))
        })
        .map(|(_, _, key, value)| format!("{}={}", show(key), show(value)))
        .collect();
    let first = settings.iter().find(|(_, section, ..)| EVENTS.iter().any(|(of, _)| section == of))?;
    let named = settings.iter().find(|(_, section, key, _)| {
        EVENTS.iter().any(|(of, _)| section == of) && matches!(key.as_slice(), b"Unit" | b"Service")
    });
    let what = named.map_or_else(|| [stem, b".service"].concat(), |(_, _, _, value)| value.clone());
    (!on.is_empty()).then(|| {
        let when = format!("{}{install}", on.join(", "));
        let who = if source.user.is_some() { source.everybody() } else { Who::Unit(what.clone()) };
        source.thing(first.0, who, &what, None, when)
    })
}

/// A container that podman's generator makes a service of (podman-systemd.unit(5)).
pub(super) fn quadlet(source: &Source<'_>) -> Vec<Start> {
    let settings = settings(source.text);
    let get = |wanted: &[u8]| settings.iter().find(|(_, _, key, _)| key == wanted);
    let Some((line, _, _, image)) = get(b"Image") else { return Vec::new() };
    let command = get(b"Exec").map_or(&b""[..], |(_, _, _, value)| value);
    let what = [&b"container of "[..], image, b" ", command].concat();
    let when = format!("when {} starts{}", show(base(source.path)), wanted(&settings));
    vec![source.thing(*line, source.owner(), what.trim_ascii(), None, when)]
}

/// Who and when by a link to a unit: `x.target.wants/y.service`, or another name for it.
pub(super) fn link(path: &[u8], target: &[u8]) -> Option<(Who, String)> {
    if target == b"/dev/null" {
        return None;
    }
    let above = base(folder(path));
    let who = Who::Unit(base(path).to_vec());
    let by = [&b".wants"[..], b".requires", b".upholds"].into_iter().find_map(|end| above.strip_suffix(end));
    Some((who, by.map_or("under another name".to_owned(), |by| format!("with {}", show(by)))))
}

/// The unit's name; of a drop-in, that of the unit it adds to.
fn name(path: &[u8]) -> &[u8] {
    let above = base(folder(path));
    if path.ends_with(b".conf") { above.strip_suffix(b".d").unwrap_or(above) } else { base(path) }
}

fn who(source: &Source<'_>, settings: &[Setting], name: &[u8]) -> Who {
    let of_users = source.user.is_some() || contains(source.path, b"/systemd/user/");
    if of_users {
        return source.everybody();
    }
    let get = |wanted: &[u8]| settings.iter().rfind(|(_, _, key, _)| key == wanted).map(|found| &found.3);
    match (get(b"User"), get(b"DynamicUser")) {
        (Some(user), _) if !user.is_empty() => Who::User(user.clone()),
        (_, Some(value)) if matches!(value.as_slice(), b"yes" | b"true" | b"1" | b"on") => {
            Who::User(b"a user of its own".to_vec())
        }
        _ if source.path.ends_with(b".conf") => Who::Unit(name.to_vec()),
        _ => source.owner(),
    }
}

fn wanted(settings: &[Setting]) -> String {
    let all: Vec<String> = settings
        .iter()
        .filter(|(_, section, key, _)| {
            section == b"Install" && matches!(key.as_slice(), b"WantedBy" | b"RequiredBy")
        })
        .flat_map(|(_, _, _, value)| words(value).map(show))
        .collect();
    if all.is_empty() { String::new() } else { format!("; wanted by {}", all.join(" ")) }
}

fn settings(text: &[u8]) -> Vec<Setting> {
    let mut section = Vec::new();
    let mut found = Vec::new();
    for (number, line) in joined(text) {
        if let [b'[', inner @ .., b']'] = line.as_slice() {
            section = inner.to_vec();
        } else if !line.starts_with(b";")
            && let Some((key, value)) = setting(&line)
        {
            found.push((number, section.clone(), key.to_vec(), value.to_vec()));
        }
    }
    found
}
