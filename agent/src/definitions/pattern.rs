//! Patterns of paths, as ForensicArtifacts writes them: `*`, `?` and `[a-z]` within a name, `**` for one to three names
//! (`**5`: for one to five), `%%users.homedir%%` for each home. Pure.

/// Names that `**` stands for where no number says otherwise, and at most.
const DEPTH: usize = 3;
const DEPTH_MAX: usize = 10;
/// Bytes of one pattern, as of a path (`PATH_MAX`).
const LENGTH_MAX: usize = 4096;
const HOMES: &[u8] = b"%%users.homedir%%";

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Relative, or of another system.
    #[error("it does not begin with `/`, nor with %%users.homedir%%")]
    NotAbsolute,
    /// `..` leads out of where a definition may look.
    #[error("it has `..` in it")]
    Climbs,
    /// A variable that this host has nothing for.
    #[error("the variable {0} is not known here")]
    Variable(String),
    /// `**0`, `**99`.
    #[error("`{0}`: from 1 to {DEPTH_MAX} levels can be looked through")]
    Depth(String),
    /// Longer than a path.
    #[error("it is longer than {LENGTH_MAX} bytes")]
    Long,
}

/// One pattern, from the root on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Whether it begins at each home.
    pub at_home: bool,
    /// Its parts, in the order of the path.
    pub parts: Vec<Part>,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This name.
    Name(Vec<u8>),
    /// All names that match.
    Glob(Vec<u8>),
    /// Any names: from one to so many, one below the other.
    Below(usize),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > LENGTH_MAX {
            return Err(Error::Long);
        }
        let (at_home, rest) = match text.strip_prefix(HOMES) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if let Some(variable) = variable(rest) {
            return Err(Error::Variable(variable));
        }
        if !rest.starts_with(b"/") && !(at_home && rest.is_empty()) {
            return Err(Error::NotAbsolute);
        }
        let names = rest.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        let parts = names.map(part).collect::<Result<_, _>>()?;
        Ok(Self { at_home, parts })
    }

    /// The names that must be there before anything has to be looked for.
    pub fn fixed(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map_while(|part| match part {
            Part::Name(name) => Some(name.as_slice()),
            Part::Glob(_) | Part::Below(_) => None,
        })
    }
}

fn part(name: &[u8]) -> Result<Part, Error> {
    if name == b".." {
        return Err(Error::Climbs);
    }
    if let Some(number) = name.strip_prefix(b"**")
        && number.iter().all(u8::is_ascii_digit)
    {
        let levels = match std::str::from_utf8(number).unwrap_or_default() {
            "" => Some(DEPTH),
            number => number.parse().ok().filter(|levels| (1..=DEPTH_MAX).contains(levels)),
        };
        return levels.map(Part::Below).ok_or_else(|| Error::Depth(lossy(name)));
    }
    let is_glob = name.iter().any(|byte| b"*?[".contains(byte));
    Ok(if is_glob { Part::Glob(name.to_vec()) } else { Part::Name(name.to_vec()) })
}

fn variable(text: &[u8]) -> Option<String> {
    let at = text.windows(2).position(|pair| pair == b"%%")?;
    let name = text.get(at + 2..)?;
    let end = name.windows(2).position(|pair| pair == b"%%").unwrap_or(name.len());
    Some(format!("%%{}%%", lossy(name.get(..end)?)))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Whether `name` matches `glob`. A leading dot is nothing special: hidden names are what we look for.
pub fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut glob, mut name) = (glob, name);
    // Where to go on after the last `*`, should what follows it not match.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob, name) {
            ([b'*', rest @ ..], _) => {
                again = Some((rest, name));
                glob = rest;
                continue;
            }
            ([], []) => return true,
            ([_, ..], [byte, left @ ..]) => {
                if let Some(rest) = one(glob, *byte) {
                    (glob, name) = (rest, left);
                    continue;
                }
            }
            ([], _) | (_, []) => {}
        }
        // The `*` takes one byte more.
        let Some((rest, [_, left @ ..])) = again else { return false };
        again = Some((rest, left));
        (glob, name) = (rest, left);
    }
}

/// What follows the first item of `glob`, if that item matches `byte`.
fn one(glob: &[u8], byte: u8) -> Option<&[u8]> {
    match glob {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => match set(rest) {
            Some((set, rest)) => is_in(set, byte).then_some(rest),
            // A bracket that is never closed is an ordinary character.
            None => (byte == b'[').then_some(rest),
        },
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// The set up to its closing bracket, and what follows. A bracket that stands first is a member.
fn set(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = usize::from(matches!(text.first(), Some(b'!' | b'^')));
    let end = text.iter().skip(first + 1).position(|&byte| byte == b']')? + first + 1;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn is_in(set: &[u8], byte: u8) -> bool {
    let (negated, mut rest) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [low, b'-', high, rest @ ..] => {
                found |= (*low..=*high).contains(&byte);
                rest
            }
            [member, rest @ ..] => {
                found |= *member == byte;
                rest
            }
            [] => return found != negated,
        };
    }
}

#[cfg(test)]
#[path = "pattern_test.rs"]
mod tests;
