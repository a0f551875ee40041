//! Who is at the door: tokens (bearer, basic, API key) and Standard Webhooks signatures. Pure.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::secrets::{Proof, Role, Secrets, Token};
use super::signature::{self, Signed};
use crate::text;

/// A token is 47 characters; a password with its user name is not much longer.
const CREDENTIALS_MAX: usize = 1024;

/// Who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The only sender it may be.
    pub sender: Option<String>,
    /// How it was authenticated, in words, for the bundle.
    pub how: String,
    /// A signed message's own id.
    pub message: Option<String>,
}

/// Why somebody was not let in. The sentences tell nothing about which tokens exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "send a token: `Authorization: Bearer afi_...`, or basic authentication with the token as the password, \
         or a Standard Webhooks signature; `afterimage token new` on the host makes one"
    )]
    Nothing,
    #[error("this `Authorization` header is neither `Bearer <token>` nor `Basic <base64 of user:token>`")]
    Unreadable,
    #[error("this token is not valid here; `afterimage token list` on the host shows which are")]
    Wrong,
    #[error("the signature is not accepted: {0}")]
    Signature(#[from] signature::Error),
}

/// Whether the request authenticates by a signature over its body.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(signature::SIGNATURE) && !headers.contains_key(AUTHORIZATION)
}

/// Authenticates by the token in the headers.
pub(super) fn by_token(headers: &HeaderMap, secrets: &Secrets) -> Result<Caller, Denied> {
    let presented = match (headers.get(AUTHORIZATION), headers.get("x-api-key")) {
        (Some(header), _) => credentials(header.as_bytes()).ok_or(Denied::Unreadable)?,
        (None, Some(key)) => (key.as_bytes().to_vec(), "API key"),
        (None, None) => return Err(Denied::Nothing),
    };
    let hash = Sha256::digest(&presented.0);
    let mut found = None;
    // All are compared, in constant time each: how long it takes does not depend on which one fits.
    for token in &secrets.tokens {
        if let Proof::TokenSha256(expected) = &token.proof
            && let Some(expected) = text::unhex(expected)
            && bool::from(hash.as_slice().ct_eq(&expected))
        {
            found = Some(token);
        }
    }
    let token = found.ok_or(Denied::Wrong)?;
    Ok(caller(token, format!("{} of token {}", presented.1, token.name), None))
}

/// Authenticates by a Standard Webhooks signature over the body.
pub(super) fn by_signature(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
    now: Timestamp,
) -> Result<Caller, Denied> {
    let signed = Signed::read(headers, now)?;
    let found = secrets.tokens.iter().find(|token| match &token.proof {
        Proof::WebhookSecret(secret) => signed.fits(secret, body),
        Proof::TokenSha256(_) => false,
    });
    let token = found.ok_or(signature::Error::Wrong)?;
    Ok(caller(token, format!("Standard Webhooks signature of {}", token.name), Some(signed.id.to_owned())))
}

fn caller(token: &Token, how: String, message: Option<String>) -> Caller {
    Caller { name: token.name.clone(), role: token.role, sender: token.sender.clone(), how, message }
}

/// The token in an `Authorization` header, and the scheme's name.
fn credentials(header: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    if header.len() > CREDENTIALS_MAX {
        return None;
    }
    let header = str::from_utf8(header).ok()?.trim();
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| (rest.as_bytes().to_vec(), "bearer token"));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        let password = pair.get(colon.checked_add(1)?..)?;
        return (!password.is_empty()).then(|| (password.to_vec(), "basic authentication"));
    }
    None
}

#[cfg(test)]
#[path = "auth_test.rs"]
mod tests;
