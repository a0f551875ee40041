use axum::http::HeaderValue;
use proptest::prelude::*;

use super::super::secrets::{TOKEN_PREFIX, Wish};
use super::*;

/// Test vector of ../trigger/fixtures/standard-webhooks.json.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn secrets() -> (Secrets, String) {
    let mut secrets = Secrets::default();
    let wish = |signed| Wish { name: None, role: Role::Trigger, sender: None, signed };
    let (_, token) = secrets.add(wish(false), Timestamp::UNIX_EPOCH).unwrap();
    secrets.add(wish(true), Timestamp::UNIX_EPOCH).unwrap();
    secrets.tokens[1].proof = Proof::WebhookSecret(SECRET.to_owned());
    (secrets, token)
}

fn sample() -> (HeaderMap, Vec<u8>) {
    let sample: serde_json::Value =
        serde_json::from_str(include_str!("../trigger/fixtures/standard-webhooks.json")).unwrap();
    let headers = sample["request"]["headers"].as_object().unwrap().iter().map(|(name, value)| {
        (name.parse().unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap())
    });
    (headers.collect(), sample["request"]["body_raw"].as_str().unwrap().as_bytes().to_vec())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn the_token_is_taken_from_each_place_a_sender_can_put_it() {
    let (secrets, token) = secrets();
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("bEARER   {token} ")),
        ("authorization", basic("")),
        ("authorization", basic("falco")),
        ("x-api-key", token.clone()),
    ] {
        let caller = by_token(&headers(&[(name, &value)]), &secrets).unwrap();
        assert_eq!(caller.name, "trigger-1", "{name}: {value}");
        assert!(caller.how.contains("trigger-1") && !caller.how.contains(&token));
    }
}

#[test]
fn what_is_not_the_token_is_denied() {
    let (secrets, token) = secrets();
    let hash = text::hex(&Sha256::digest(&token));
    assert_eq!(by_token(&headers(&[]), &secrets), Err(Denied::Nothing));
    for value in [
        format!("Bearer {token}x"),
        format!("Bearer {}", &token.strip_prefix(TOKEN_PREFIX).unwrap()),
        format!("Bearer {hash}"),
        format!("Bearer {SECRET}"),
        format!("Basic {}", STANDARD.encode(format!("{token}:x"))),
    ] {
        assert_eq!(by_token(&headers(&[("authorization", &value)]), &secrets), Err(Denied::Wrong), "{value}");
    }
    for value in [
        "",
        "Bearer",
        "Bearer ",
        &token,
        "Basic",
        "Basic !!!",
        &format!("Basic {}", STANDARD.encode(&token)),
        &format!("Basic {}", STANDARD.encode("user:")),
        "Digest username=\"x\"",
        &format!("Bearer {}", "x".repeat(2000)),
    ] {
        let denied = by_token(&headers(&[("authorization", value)]), &secrets);
        assert_eq!(denied, Err(Denied::Unreadable), "{value}");
    }
}

#[test]
fn the_sample_of_standard_webhooks_is_accepted_in_its_time_only() {
    let (secrets, _) = secrets();
    let (headers, body) = sample();
    let sent = 1_795_183_408;
    let caller = by_signature(&headers, &body, &secrets, at(sent)).unwrap();
    assert_eq!(caller.message.as_deref(), Some("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"));
    for distance in [-300, 300] {
        assert!(by_signature(&headers, &body, &secrets, at(sent + distance)).is_ok());
    }
    for distance in [-301, 301, 1_000_000] {
        let denied = by_signature(&headers, &body, &secrets, at(sent + distance)).unwrap_err();
        assert_eq!(denied, Denied::Signature(signature::Error::Time(distance.unsigned_abs())));
    }
}

#[test]
fn any_change_of_body_headers_or_secret_breaks_the_signature() {
    let (mut secrets, _) = secrets();
    let (headers, body) = sample();
    let now = at(1_795_183_408);
    let wrong = Err(Denied::Signature(signature::Error::Wrong));
    for at in 0..body.len() {
        let mut other = body.clone();
        other[at] ^= 1;
        assert_eq!(by_signature(&headers, &other, &secrets, now), wrong);
    }
    for (name, value) in [
        ("webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4X"),
        ("webhook-timestamp", "1795183409"),
        ("webhook-timestamp", "01795183408"),
        ("webhook-signature", "v1a,ZrKri1Ewp3vKdq793HYl4hVBr+Lf6rLhxBRLI25Q0po="),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", ""),
    ] {
        let mut other = headers.clone();
        other.insert(name, HeaderValue::from_str(value).unwrap());
        assert_eq!(by_signature(&other, &body, &secrets, now), wrong, "{name}: {value}");
    }
    for secret in ["whsec_", "whsec_!!", "", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="] {
        secrets.tokens[1].proof = Proof::WebhookSecret(secret.to_owned());
        assert_eq!(by_signature(&headers, &body, &secrets, now), wrong, "{secret}");
    }
}

#[test]
fn one_of_several_signatures_is_enough_while_a_secret_is_changed() {
    let (secrets, _) = secrets();
    let (mut headers, body) = sample();
    let right = headers["webhook-signature"].to_str().unwrap().to_owned();
    let both = format!("v1,{} {right}", STANDARD.encode([0; 32]));
    headers.insert("webhook-signature", HeaderValue::from_str(&both).unwrap());
    assert!(by_signature(&headers, &body, &secrets, at(1_795_183_408)).is_ok());
}

#[test]
fn missing_or_unreadable_headers_are_named() {
    let (secrets, _) = secrets();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let (mut headers, body) = sample();
        headers.remove(name);
        let denied = by_signature(&headers, &body, &secrets, at(1_795_183_408)).unwrap_err();
        assert!(denied.to_string().contains(name), "{denied}");
    }
    for time in ["", "now", "1e9", "99999999999999999999"] {
        let (mut headers, body) = sample();
        headers.insert("webhook-timestamp", HeaderValue::from_str(time).unwrap());
        assert!(by_signature(&headers, &body, &secrets, at(1_795_183_408)).is_err(), "{time}");
    }
}

proptest! {
    #[test]
    fn no_authorization_header_lets_in_by_chance(value in "(Bearer |Basic |bearer|)[ -~]{0,80}") {
        let (secrets, _) = secrets();
        let header = HeaderValue::from_str(&value).unwrap();
        let map: HeaderMap = [(AUTHORIZATION, header)].into_iter().collect();
        prop_assert!(by_token(&map, &secrets).is_err());
    }

    #[test]
    fn credentials_never_panic(value: Vec<u8>) {
        let _read = credentials(&value);
    }
}
