use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::*;

const FALCO: &[u8] = br#"{"rule":"R","priority":"Error","output_fields":{"proc.exepath":"/tmp/x"}}"#;

fn signed(world: &World, id: &str, seconds: i64, body: &[u8]) -> String {
    let secret = STANDARD.decode(world.tokens["signer"].strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    format!("webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: v1,{signature}\r\n")
}

#[test]
fn a_trigger_is_answered_with_202_and_the_capture() {
    let world = World::accepting();
    let answer = world.post("/v1/triggers/falco", &world.bearer("trigger"), FALCO);
    assert_eq!(answer.status, 202);
    let id = Uuid::from_u128(7).to_string();
    assert_eq!(answer.headers["location"], format!("/v1/captures/{id}"));
    assert_eq!(answer.json()["id"], id.as_str());
    assert_eq!(answer.json()["captures"][0]["status"], "accepted");
    let ToRecorder::Trigger { trigger, body, message, .. } = world.next() else { panic!() };
    assert_eq!((trigger.sender.as_str(), trigger.rule.as_str()), ("falco", "R"));
    assert_eq!(trigger.authenticated, "bearer token of token trigger");
    assert_eq!((body.0.as_slice(), message), (FALCO, None));
}

#[test]
fn basic_authentication_is_enough_for_falco() {
    let world = World::accepting();
    let basic = STANDARD.encode(format!("falco:{}", world.tokens["falco"]));
    let answer = world.post("/v1/triggers/falco", &format!("Authorization: Basic {basic}\r\n"), FALCO);
    assert_eq!(answer.status, 202);
}

#[test]
fn who_may_not_is_told_why() {
    let world = World::accepting();
    let post = |path: &str, token: &str, body: &[u8]| world.post(path, &world.bearer(token), body);
    assert!(post("/v1/triggers/nobody", "trigger", FALCO).problem(404).contains("falco, alertmanager"));
    assert!(post("/v1/triggers/generic", "falco", FALCO).problem(403).contains("/v1/triggers/falco"));
    assert!(post("/v1/triggers/nobody", "falco", FALCO).problem(404).contains("nobody"));
    assert!(post("/v1/triggers/falco", "read", FALCO).problem(403).contains("--role trigger"));
    assert_eq!(post("/v1/triggers/falco", "admin", FALCO).status, 202);
    let get = |path: &str, token: &str| world.get(path, &world.bearer(token));
    assert!(get("/v1/bundles", "trigger").problem(403).contains("--role read"));
    assert!(get("/v1/triggers/falco", "trigger").problem(405).contains("method"));
    assert!(get("/v2", "read").problem(404).contains("nothing"));
}

#[test]
fn a_body_that_is_not_a_trigger_is_explained() {
    let world = World::accepting();
    let post = |path: &str, body: &[u8]| world.post(path, &world.bearer("trigger"), body).problem(400);
    let said = post("/v1/triggers/falco", b"{\"rule\":\n  oops}");
    assert!(said.contains("not valid JSON") && said.contains("line 2 column 3"), "{said}");
    assert!(post("/v1/triggers/falco", b"").contains("JSON"));
    assert!(post("/v1/triggers/falco", b"[]").contains("`rule`"));
    assert!(post("/v1/triggers/alertmanager", b"{}").contains("`alerts`"));
    assert!(post("/v1/triggers/generic", br#"{"rule":"r","pid":"x"}"#).contains("`pid`"));
}

#[test]
fn too_much_is_refused_and_the_answer_arrives() {
    let world = World::accepting();
    let body = vec![b'['; 300 * 1024];
    let answer = world.post("/v1/triggers/falco", &world.bearer("trigger"), &body);
    assert!(answer.problem(413).contains("256 KiB"));
    world.post("/v1/triggers/falco", "", &body).problem(401);
    // The same without a length beforehand.
    let mut request = format!(
        "POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        world.bearer("trigger")
    )
    .into_bytes();
    for _ in 0..300 {
        request.extend_from_slice(b"400\r\n");
        request.extend_from_slice(&[b'x'; 1024]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    world.raw(&request).unwrap().problem(413);
    let body = vec![b' '; 256 * 1024];
    assert!(world.post("/v1/triggers/falco", &world.bearer("trigger"), &body).problem(400).contains("JSON"));
}

#[test]
fn a_signed_message_passes_in_its_time() {
    let world = World::accepting();
    let body = br#"{"type":"capture.requested","data":{"target":{"pid":7}}}"#;
    let now = Timestamp::now().as_second();
    let answer = world.post("/v1/triggers/generic", &signed(&world, "m1", now, body), body);
    assert_eq!(answer.status, 202);
    let ToRecorder::Trigger { trigger, message, .. } = world.next() else { panic!() };
    assert_eq!((message.as_deref(), trigger.event_id.as_deref()), (Some("signer/m1"), Some("m1")));
    assert_eq!(trigger.target.pid, Some(7));

    let old = world.post("/v1/triggers/generic", &signed(&world, "m2", now - 400, body), body);
    assert!(old.problem(401).contains("clocks"));
    let other = world.post("/v1/triggers/generic", &signed(&world, "m3", now, b"{}"), body);
    assert!(other.problem(401).contains("signature"));
    let unknown = world.post("/v1/triggers/nobody", &signed(&world, "m4", now, body), body);
    unknown.problem(404);
    world.post("/v1/triggers/nobody", &signed(&world, "m4", now, b""), body).problem(401);
}

#[test]
fn what_the_recorder_says_becomes_a_status() {
    let world = World::new(|question| {
        let ToRecorder::Trigger { request, trigger, .. } = question else { return None };
        let (request, id) = (*request, Uuid::from_u128(9));
        let answer = match trigger.rule.as_str() {
            "duplicate" => ToDoor::Duplicate { request, id },
            "replay" => ToDoor::Replay { request },
            "busy" => ToDoor::Busy { request, retry_after_s: 42 },
            "refused" => ToDoor::Refused { request, reason: "the disk is full".to_owned() },
            "nonsense" => ToDoor::NotFound { request },
            _ => ToDoor::Accepted { request, id },
        };
        Some((answer, None))
    });
    let post = |rule: &str| {
        let body = format!(r#"{{"rule":"{rule}"}}"#);
        world.post("/v1/triggers/generic", &world.bearer("trigger"), body.as_bytes())
    };
    let duplicate = post("duplicate");
    assert_eq!(
        (duplicate.status, duplicate.json()["captures"][0]["status"].as_str()),
        (200, Some("duplicate"))
    );
    assert!(post("replay").problem(409).contains("webhook-id"));
    let busy = post("busy");
    assert_eq!(busy.headers["retry-after"], "42");
    busy.problem(503);
    assert!(post("refused").problem(503).contains("the disk is full"));
    post("nonsense").problem(502);
}

#[test]
fn one_capture_for_each_firing_alert_and_all_again_when_one_could_not_be_taken() {
    let world = World::new(|question| {
        let ToRecorder::Trigger { request, trigger, .. } = question else { return None };
        let (request, id) = (*request, Uuid::from_u128(1));
        let busy = trigger.rule == "busy";
        let busy = busy.then_some(ToDoor::Busy { request, retry_after_s: 1 });
        Some((busy.unwrap_or(ToDoor::Accepted { request, id }), None))
    });
    let post = |names: &[(&str, &str)]| {
        let alerts: Vec<Value> = names
            .iter()
            .map(|(name, status)| serde_json::json!({ "status": status, "labels": { "alertname": name } }))
            .collect();
        let body = serde_json::json!({ "alerts": alerts }).to_string();
        world.post("/v1/triggers/alertmanager", &world.bearer("trigger"), body.as_bytes())
    };
    let both = post(&[("a", "firing"), ("b", "resolved"), ("c", "firing")]);
    assert_eq!((both.status, both.json()["captures"].as_array().unwrap().len()), (202, 2));
    let one = post(&[("a", "firing"), ("busy", "firing")]);
    one.problem(503);
    assert_eq!(one.json()["captures"][0]["status"], "accepted");
    let none = post(&[("a", "resolved")]);
    assert_eq!((none.status, none.json()["captures"].as_array().unwrap().len()), (200, 0));
}

#[test]
fn more_triggers_than_the_recorder_takes_are_told_to_come_again() {
    let world = World::new(|_| None);
    let send = || {
        let mut stream = world.connect();
        let head = format!(
            "POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n",
            world.bearer("trigger"),
            FALCO.len()
        );
        stream.write_all(&[head.as_bytes(), FALCO].concat()).unwrap();
        stream
    };
    // All of these wait for the recorder, which has heard them and is silent.
    let waiting: Vec<TcpStream> = (0..32).map(|_| send()).collect();
    for _ in &waiting {
        assert!(matches!(world.next(), ToRecorder::Trigger { .. }));
    }
    let busy = world.post("/v1/triggers/falco", &world.bearer("trigger"), FALCO);
    assert_eq!(busy.headers["retry-after"], "1");
    assert!(busy.problem(503).contains("on their way"));
    // Who is not let in does not learn of it, and others are served.
    world.post("/v1/triggers/falco", "", FALCO).problem(401);
    assert_eq!(world.get("/healthz", "").status, 200);
}

#[test]
fn who_is_not_let_in_takes_nobodys_turn() {
    let world = World::accepting();
    let slow: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = world.connect();
            let head = "POST /v1/triggers/generic HTTP/1.1\r\nHost: x\r\nwebhook-signature: v1,AAAA\r\n\
                        Content-Length: 100\r\n\r\n{";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(world.post("/v1/triggers/falco", &world.bearer("trigger"), FALCO).status, 202);
    drop(slow);
}
