//! Whom the door lets in: tokens, kept hashed, and webhook secrets, in `keys/tokens.json`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::text;

/// All who are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// In the order they were made.
    pub tokens: Vec<Token>,
}

/// One who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name: unique, for the list and the custody record.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The only sender it may be, if it is bound to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// How it proves itself.
    #[serde(flatten)]
    pub proof: Proof,
}

/// How a sender or a person proves who they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By a token whose SHA-256 this is, in hexadecimal. The token itself is kept nowhere.
    TokenSha256(String),
    /// By Standard Webhooks signatures with this secret (`whsec_` and base64). HMAC needs the secret itself.
    WebhookSecret(String),
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send triggers.
    Trigger,
    /// Read captures and bundles.
    Read,
    /// Both.
    Admin,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TokenSha256(_) => "TokenSha256(..)",
            Self::WebhookSecret(_) => "WebhookSecret(..)",
        })
    }
}

/// Its name in the folder of keys.
pub const FILE: &str = "tokens.json";
/// What a token begins with.
pub const TOKEN_PREFIX: &str = "afi_";
/// What a webhook secret begins with (Standard Webhooks).
pub const SECRET_PREFIX: &str = "whsec_";
/// Some thousand tokens.
const FILE_MAX: u64 = 1 << 20;
/// Tokens there may be: each request is compared with all of them.
const TOKENS_MAX: usize = 256;
const NAME_MAX: usize = 64;
/// Random bytes of a token and of a secret.
const RANDOM: usize = 32;

/// Why the secrets cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or its folder.
    #[error("cannot {step} {path}: {source}")]
    File {
        /// What was tried.
        step: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Not what we wrote.
    #[error("{path} is not understood ({source}): restore it, or remove it and make new tokens")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Over [`FILE_MAX`].
    #[error("{0} is too large to be a list of tokens")]
    TooLarge(PathBuf),
    /// The list is full.
    #[error("there are {TOKENS_MAX} tokens already; revoke those that are not used")]
    Full,
    /// The name is taken.
    #[error("there is a token named {0} already; choose another --name, or revoke that one first")]
    Taken(String),
    /// The name is not one.
    #[error("a token's name has 1 to {NAME_MAX} letters, digits, `-`, `_` or `.`, and `{0}` has not")]
    Name(String),
    /// No such token.
    #[error("there is no token named {0}; `afterimage token list` shows those there are")]
    Unknown(String),
    /// No random bytes.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(#[from] getrandom::Error),
}

/// What a new token shall be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name; without one it is called after its sender or role, with a number.
    pub name: Option<String>,
    /// What it may do.
    pub role: Role,
    /// The only sender it may be.
    pub sender: Option<String>,
    /// Whether its holder signs messages (Standard Webhooks) rather than sends a token.
    pub signed: bool,
}

/// Reads the secrets in the folder `keys`; none, where there is no file yet.
pub fn load(keys: &Path) -> Result<Secrets, Error> {
    let path = keys.join(FILE);
    let fail = |source| Error::File { step: "read", path: path.clone(), source };
    let mut text = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(FILE_MAX.saturating_add(1)).read_to_end(&mut text).map_err(fail)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
        Err(source) => return Err(fail(source)),
    };
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(Error::TooLarge(path));
    }
    serde_json::from_slice(&text).map_err(|source| Error::Malformed { path, source })
}

/// Changes the secrets in the folder `keys`, which is made if it is not there. Two who change them at the same time
/// wait for each other; whoever reads sees the old ones or the new ones.
pub fn edit<T>(keys: &Path, change: impl FnOnce(&mut Secrets) -> Result<T, Error>) -> Result<T, Error> {
    let fail = |step| move |source| Error::File { step, path: keys.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(keys).map_err(fail("make"))?;
    let folder = File::open(keys).map_err(fail("open"))?;
    let folder = Flock::lock(folder, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno.into())
        .map_err(fail("lock"))?;
    let mut secrets = load(keys)?;
    let result = change(&mut secrets)?;
    replace(keys, &folder, &secrets).map_err(|source| Error::File {
        step: "write",
        path: keys.join(FILE),
        source,
    })?;
    Ok(result)
}

fn replace(keys: &Path, folder: &File, secrets: &Secrets) -> io::Result<()> {
    let (new, path) = (keys.join(".tokens.json.new"), keys.join(FILE));
    // One that somebody left when it was killed; the lock says that nobody writes it now.
    match std::fs::remove_file(&new) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => return Err(failure),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(secrets)?)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    folder.sync_all()
}

impl Secrets {
    /// Adds one, and gives what its holder must know: the token or the webhook secret, which is shown once.
    pub fn add(&mut self, wish: Wish, now: Timestamp) -> Result<(Token, String), Error> {
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Error::Full);
        }
        let Wish { name, role, sender, signed } = wish;
        let name = match name {
            Some(name) if !is_name(&name) => return Err(Error::Name(name)),
            Some(name) if self.get(&name).is_some() => return Err(Error::Taken(name)),
            Some(name) => name,
            None => self.free_name(sender.as_deref().unwrap_or(role.word())),
        };
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random)?;
        let (shown, proof) = if signed {
            let secret = format!("{SECRET_PREFIX}{}", STANDARD.encode(random));
            (secret.clone(), Proof::WebhookSecret(secret))
        } else {
            let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
            let hash = text::hex(&Sha256::digest(&token));
            (token, Proof::TokenSha256(hash))
        };
        let token = Token { name, role, sender, created: now, proof };
        self.tokens.push(token.clone());
        Ok((token, shown))
    }

    /// Takes one out.
    pub fn revoke(&mut self, name: &str) -> Result<(), Error> {
        let at = self.tokens.iter().position(|token| token.name == name);
        at.map(|at| drop(self.tokens.remove(at))).ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    fn get(&self, name: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.name == name)
    }

    fn free_name(&self, stem: &str) -> String {
        let mut names = (1_u64..).map(|number| format!("{stem}-{number}"));
        names.find(|name| self.get(name).is_none()).unwrap_or_default()
    }
}

impl Role {
    /// Its word, as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
#[path = "secrets_test.rs"]
mod tests;
