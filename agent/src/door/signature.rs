//! Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp` and `webhook-signature` over the body.
//!
//! Signed are `id.timestamp.body`; a signature is `v1,` and the base64 of an HMAC-SHA256. There may be several,
//! separated by spaces, so that a secret can be changed without a break.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::secrets::SECRET_PREFIX;

pub(super) const SIGNATURE: &str = "webhook-signature";
/// How far the sender's clock may be from ours, in seconds either way (the reference implementations' value).
const TOLERANCE_S: i64 = 300;
const ID_MAX: usize = 256;
/// Signatures that are looked at.
const SIGNATURES_MAX: usize = 8;

/// Why a signature is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the header `{0}` is missing or not readable")]
    Header(&'static str),
    #[error(
        "`webhook-timestamp` is {0} seconds from this host's time, and {TOLERANCE_S} are allowed; check the clocks"
    )]
    Time(u64),
    #[error("no signature in `webhook-signature` fits a secret of this host")]
    Wrong,
}

/// The three headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'h> {
    pub(super) id: &'h str,
    timestamp: &'h str,
    signatures: &'h str,
}

impl<'h> Signed<'h> {
    /// Reads the headers, and refuses a message of another time.
    pub(super) fn read(headers: &'h HeaderMap, now: Timestamp) -> Result<Self, Error> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Error::Header(name));
        let (id, timestamp, signatures) = (text("webhook-id")?, text("webhook-timestamp")?, text(SIGNATURE)?);
        if id.is_empty() || id.len() > ID_MAX {
            return Err(Error::Header("webhook-id"));
        }
        let seconds: i64 = timestamp.parse().map_err(|_| Error::Header("webhook-timestamp"))?;
        let distance = now.as_second().abs_diff(seconds);
        if distance > TOLERANCE_S.unsigned_abs() {
            return Err(Error::Time(distance));
        }
        Ok(Self { id, timestamp, signatures })
    }

    /// Whether one of the signatures is made with this secret over this body.
    pub(super) fn fits(&self, secret: &str, body: &[u8]) -> bool {
        let Some(key) = key(secret) else { return false };
        self.signatures.split(' ').take(SIGNATURES_MAX).any(|signature| {
            let Some(("v1", base64)) = signature.split_once(',') else { return false };
            let (Ok(expected), Ok(mut mac)) = (STANDARD.decode(base64), Hmac::<Sha256>::new_from_slice(&key))
            else {
                return false;
            };
            for part in [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            // Compares in constant time.
            mac.verify_slice(&expected).is_ok()
        })
    }
}

/// The bytes of a secret; an empty one is none.
fn key(secret: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    (!key.is_empty()).then_some(key)
}
