//! Who may come in, and what they may do: passwd, shadow, group, login keys. Pure; never a password's hash comes out of here.

mod keys;

use std::collections::{BTreeMap, HashMap};

pub(crate) use keys::{Key, keys};

use crate::text::Bytes;

/// Lines of one file that are looked at.
const LINES_MAX: usize = 100_000;

/// One line of passwd, with what shadow and group say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) line: usize,
    pub(crate) name: Bytes,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) comment: Bytes,
    pub(crate) home: Bytes,
    pub(crate) shell: Bytes,
    pub(crate) password: Password,
    /// Groups it is in, the first its own.
    pub(crate) groups: Vec<Bytes>,
    pub(crate) reasons: Vec<String>,
}

/// What can be said of a password without giving it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) state: State,
    /// How it is hashed.
    pub(crate) scheme: Option<&'static str>,
    /// Days since 1970.
    pub(crate) changed: Option<i64>,
    pub(crate) expires: Option<i64>,
}

/// Whether it lets somebody in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Set,
    /// There is one, which is not accepted for the time being.
    Locked,
    /// None would be accepted.
    None,
    /// None is needed.
    Empty,
    /// Nothing is told: shadow has no such line, or cannot be read.
    #[default]
    Unknown,
}

/// A line of group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: Bytes,
    pub(crate) gid: u32,
    pub(crate) members: Vec<Bytes>,
}

/// The groups; broken lines are left out.
pub(crate) fn groups(text: &[u8]) -> Vec<Group> {
    let group = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [name, _, gid, members] = fields.as_slice() else { return None };
        let members = members.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let members = members.filter(|name| !name.is_empty()).map(Bytes::from).collect();
        Some(Group { name: Bytes::from(*name), gid: number(gid)?, members })
    };
    rows(text).filter_map(|(_, line)| group(line)).collect()
}

/// The accounts; broken lines are left out. `shadow` is none where it cannot be read.
pub(crate) fn accounts(passwd: &[u8], shadow: Option<&[u8]>, groups: &[Group]) -> Vec<Account> {
    let passwords: Option<HashMap<&[u8], Password>> = shadow.map(|text| {
        // As the C library does: the first line of a name counts.
        let mut passwords = HashMap::new();
        for (name, password) in rows(text).filter_map(|(_, line)| shadowed(line)) {
            passwords.entry(name).or_insert(password);
        }
        passwords
    });
    let mut memberships: HashMap<&Bytes, Vec<Bytes>> = HashMap::new();
    for group in groups {
        for member in &group.members {
            memberships.entry(member).or_default().push(group.name.clone());
        }
    }
    let own: BTreeMap<u32, &Bytes> = groups.iter().rev().map(|group| (group.gid, &group.name)).collect();
    let mut all: Vec<Account> = Vec::new();
    let mut uids: HashMap<u32, Bytes> = HashMap::new();
    for (number, line) in rows(passwd) {
        let Some((mut account, field)) = account(number, line) else { continue };
        account.groups.extend(own.get(&account.gid).map(|name| (*name).clone()));
        account.groups.extend(memberships.remove(&account.name).unwrap_or_default());
        if field == b"x" {
            let known = passwords.as_ref().map(|passwords| passwords.get(account.name.as_slice()));
            match known {
                Some(Some(password)) => account.password = password.clone(),
                Some(None) => account.reasons.push("has no line in shadow".to_owned()),
                None => {}
            }
        } else {
            (account.password.state, account.password.scheme) = judge(field);
            if account.password.scheme.is_some() {
                account.reasons.push("its password's hash is in passwd, which everybody may read".to_owned());
            }
        }
        account.judge(uids.get(&account.uid));
        uids.entry(account.uid).or_insert_with(|| account.name.clone());
        all.push(account);
    }
    all
}

/// What passwd alone says; broken lines are left out.
pub(crate) fn passwd(text: &[u8]) -> impl Iterator<Item = Account> {
    rows(text).filter_map(|(number, line)| Some(account(number, line)?.0))
}

fn account(line: usize, text: &[u8]) -> Option<(Account, &[u8])> {
    let fields: Vec<&[u8]> = text.split(|&byte| byte == b':').collect();
    let [name, password, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
    let account = Account {
        line,
        name: Bytes::from(*name),
        uid: number(uid)?,
        gid: number(gid)?,
        comment: Bytes::from(*comment),
        home: Bytes::from(*home),
        shell: Bytes::from(*shell),
        password: Password::default(),
        groups: Vec::new(),
        reasons: Vec::new(),
    };
    Some((account, password))
}

impl Account {
    /// Whether somebody gets a shell (an empty field means /bin/sh).
    fn has_shell(&self) -> bool {
        let name = self.shell.as_slice().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        name.is_empty() || name.ends_with(b"sh")
    }

    /// What is odd about it; `first` is who has its uid before it.
    fn judge(&mut self, first: Option<&Bytes>) {
        let mut odd = |reason: String| self.reasons.push(reason);
        let is_root = self.name.as_slice() == b"root";
        if self.uid == 0 && !is_root {
            odd("has the rights of root under another name".to_owned());
        } else if let Some(first) = first {
            odd(format!("has the uid of {first}"));
        }
        if is_root && self.uid != 0 {
            odd("is called root and is not".to_owned());
        }
        if self.password.state == State::Empty {
            odd("needs no password".to_owned());
        }
        if matches!(self.password.scheme, Some("DES" | "MD5")) {
            odd("its password's hash is weak".to_owned());
        }
        let of_system = (1..1000).contains(&self.uid) || self.uid == 65534;
        if of_system && self.password.state == State::Set && self.has_shell() {
            self.reasons.push("a system account with a password and a shell".to_owned());
        }
    }
}

/// A line of shadow, without the hash.
fn shadowed(line: &[u8]) -> Option<(&[u8], Password)> {
    let mut fields = line.split(|&byte| byte == b':');
    let (name, field) = (fields.next()?, fields.next()?);
    let (state, scheme) = judge(field);
    let days = |field: Option<&[u8]>| str::from_utf8(field?).ok()?.parse::<i64>().ok();
    let changed = days(fields.next());
    let expires = days(fields.nth(4));
    Some((name, Password { state, scheme, changed, expires }))
}

/// What a field for a password says (crypt(5), shadow(5)).
fn judge(field: &[u8]) -> (State, Option<&'static str>) {
    let locked = field.starts_with(b"!");
    let hash = field.get(field.iter().take_while(|&&byte| byte == b'!').count()..).unwrap_or_default();
    let scheme = match hash {
        [b'$', b'1', b'$', ..] => Some("MD5"),
        [b'$', b'2', ..] => Some("bcrypt"),
        [b'$', b'5', b'$', ..] => Some("SHA-256"),
        [b'$', b'6', b'$', ..] => Some("SHA-512"),
        [b'$', b'7', b'$', ..] => Some("scrypt"),
        [b'$', b'y', b'$', ..] => Some("yescrypt"),
        [b'$', b'g', b'y', b'$', ..] => Some("gost-yescrypt"),
        [b'$', ..] => Some("unknown"),
        _ if hash.len() == 13 && !hash.contains(&b'*') => Some("DES"),
        _ => None,
    };
    let state = match (locked, scheme) {
        _ if field.is_empty() => State::Empty,
        (true, Some(_)) => State::Locked,
        (false, Some(_)) => State::Set,
        (_, None) => State::None,
    };
    (state, scheme)
}

/// Lines with their numbers.
fn rows(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.is_empty()).take(LINES_MAX)
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "accounts_test.rs"]
mod tests;
