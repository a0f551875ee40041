//! Messages as a sender signs them by Standard Webhooks 1.0, written after its text: `id.timestamp.body`, HMAC-SHA256.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The headers of message `id` with this body, signed with `secret` so many seconds ago.
pub fn headers(secret: &str, id: &str, seconds_ago: u64, body: &str) -> Result<[String; 3]> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - seconds_ago;
    let signature = signature(secret, &format!("{id}.{time}.{body}"))?;
    Ok([
        format!("webhook-id: {id}"),
        format!("webhook-timestamp: {time}"),
        format!("webhook-signature: {signature}"),
    ])
}

fn signature(secret: &str, signed: &str) -> Result<String> {
    let key = secret.strip_prefix("whsec_").context("a secret begins with whsec_")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key)?)?;
    mac.update(signed.as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn it_signs_as_the_reference_does() {
        let signed = r#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        let signature = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", signed).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
