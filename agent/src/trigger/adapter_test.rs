use serde_json::{Value, json};

use super::*;
use crate::trigger::{Profile, Target};

fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Compares a sample's expectation with the trigger, field by field; times by value.
fn check(sender: &str, sample: &Value) {
    let body = sample["request"]["body_raw"].as_str().unwrap();
    let message = sample["request"]["headers"]["webhook-id"].as_str();
    let adapted = adapt(sender, body.as_bytes(), message).unwrap();
    assert_eq!((adapted.triggers.len(), adapted.ignored), (1, 0));
    let trigger = &adapted.triggers[0];
    assert_eq!(trigger.sender, sender);
    let trigger = serde_json::to_value(trigger).unwrap();
    for (name, expected) in sample["expect"].as_object().unwrap() {
        let got = trigger.get(name).or_else(|| trigger["target"].get(name)).unwrap();
        if name == "process_start" && !expected.is_null() {
            let expected = crate::trigger::field::time(&json!({ "t": expected }), &["t"]).unwrap();
            assert_eq!(got.as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), expected);
        } else {
            assert_eq!(got, expected, "{name}");
        }
    }
}

#[test]
fn every_sample_gives_what_it_expects() {
    check("falco", &sample(include_str!("fixtures/falco.json")));
    check("falco", &sample(include_str!("fixtures/falco-with-pid.json")));
    check("alertmanager", &sample(include_str!("fixtures/alertmanager.json")));
    check("generic", &sample(include_str!("fixtures/standard-webhooks.json")));
}

fn one(sender: &str, body: &Value) -> Trigger {
    let mut adapted = adapt(sender, body.to_string().as_bytes(), None).unwrap();
    assert_eq!(adapted.triggers.len(), 1);
    adapted.triggers.remove(0)
}

fn falco(fields: &Value) -> Target {
    one("falco", &json!({ "rule": "R", "output_fields": fields })).target
}

fn refused(sender: &str, body: &str) -> String {
    adapt(sender, body.as_bytes(), None).unwrap_err().to_string()
}

#[test]
fn severities_of_all_senders() {
    for (word, severity) in [
        ("Debug", "info"),
        ("Informational", "info"),
        ("Notice", "low"),
        ("Warning", "medium"),
        ("Error", "high"),
        ("Critical", "critical"),
        ("Alert", "critical"),
        ("Emergency", "critical"),
    ] {
        let trigger = one("falco", &json!({ "rule": "R", "priority": word }));
        assert_eq!(serde_json::to_value(trigger.severity).unwrap(), severity, "{word}");
        assert_eq!(trigger.severity_raw.as_deref(), Some(word));
    }
    assert_eq!(one("falco", &json!({ "rule": "R", "priority": "Odd" })).severity, None);
}

#[test]
fn unknown_values_of_falco_are_no_hints() {
    let target = falco(&json!({
        "proc.pid": -1, "proc.vpid": 0, "proc.exepath": "<NA>", "proc.name": "", "proc.cmdline": null,
        "user.uid": -1, "container.id": "host", "fd.rip": "<NA>", "fd.rport": "<NA>", "fd.name": "/etc/passwd",
        "proc.pid.ts": "soon",
    }));
    assert_eq!(target, Target::default());
}

#[test]
fn the_far_side_of_a_connection_in_falcos_words() {
    for (fields, remote) in [
        (json!({ "fd.name": "10.0.0.2:40000->203.0.113.45:4444" }), "203.0.113.45:4444"),
        (json!({ "fd.name": "203.0.113.9:40000->10.0.0.2:80", "fd.lip": "10.0.0.2" }), "203.0.113.9:40000"),
        (json!({ "fd.name": "2001:db8::2:40000->2001:db8::1:443" }), "[2001:db8::1]:443"),
        (json!({ "fd.name": "1.2.3.4:1->5.6.7.8:2", "fd.rip": "9.9.9.9", "fd.rport": 7 }), "9.9.9.9:7"),
    ] {
        let target = falco(&fields);
        let found = std::net::SocketAddr::new(target.remote_ip.unwrap(), target.remote_port.unwrap());
        assert_eq!(found.to_string(), remote);
    }
    for name in ["->", "a->b", "1.2.3.4->5.6.7.8", "1.2.3.4:1->5.6.7.8:99999", "1.2.3.4:1"] {
        assert_eq!(falco(&json!({ "fd.name": name })).remote_ip, None, "{name}");
    }
}

#[test]
fn values_of_wrong_types_and_sizes_are_passed_over() {
    let target = falco(&json!({
        "proc.pid": 4_294_967_296_u64, "proc.exepath": ["x"], "proc.name": {}, "user.uid": 1e300,
        "container.full_id": "zz", "container.id": "7f3a9c1e5b2", "proc.cmdline": true, "fd.rip": "1.2.3.4.5",
        "fd.rport": 65536,
    }));
    assert_eq!(target, Target::default());
    let texts = falco(&json!({ "proc.pid": "42", "user.uid": "0", "fd.rport": "80" }));
    assert_eq!((texts.pid, texts.uid, texts.remote_port), (Some(42), Some(0), Some(80)));
}

#[test]
fn texts_are_cut_at_their_bounds() {
    let long = "\u{e9}".repeat(100_000);
    let trigger = one(
        "falco",
        &json!({ "rule": long, "output_fields": { "proc.exepath": long, "proc.cmdline": long } }),
    );
    assert!(trigger.rule.len() <= 256 && long.starts_with(&trigger.rule));
    assert_eq!(trigger.target.exe.unwrap().0.len(), 4096);
    assert_eq!(trigger.target.cmdline.unwrap().0.len(), 32 * 1024);
}

#[test]
fn of_an_object_with_a_name_twice_the_last_counts() {
    let body = br#"{"rule":"a","rule":"b","output_fields":{"proc.pid":1,"proc.pid":2}}"#;
    let adapted = adapt("falco", body, None).unwrap();
    assert_eq!((adapted.triggers[0].rule.as_str(), adapted.triggers[0].target.pid), ("b", Some(2)));
}

#[test]
fn alertmanager_takes_the_firing_up_to_a_bound() {
    let alert = |n: usize, status: &str| {
        json!({ "status": status, "labels": { "alertname": format!("A{n}"), "pid": "7" }, "fingerprint": "f",
                "startsAt": "2026-11-20T14:03:30.112Z" })
    };
    let alerts: Vec<Value> =
        (0..100).map(|n| alert(n, if n % 2 == 0 { "firing" } else { "resolved" })).collect();
    let body = json!({ "alerts": alerts }).to_string();
    let adapted = adapt("alertmanager", body.as_bytes(), None).unwrap();
    assert_eq!((adapted.triggers.len(), adapted.ignored), (TRIGGERS_MAX, 50 - TRIGGERS_MAX));
    assert_eq!(adapted.triggers[1].rule, "A2");
    let odd = json!({ "alerts": [7, null, [], {}, { "status": "firing" }] }).to_string();
    let adapted = adapt("alertmanager", odd.as_bytes(), None).unwrap();
    assert_eq!((adapted.triggers.len(), adapted.triggers[0].rule.as_str()), (1, "(no alertname)"));
    assert_eq!(adapted.triggers[0].dedup_key, None);
}

#[test]
fn the_generic_form_flat_and_enveloped() {
    let flat = one(
        "generic",
        &json!({ "rule": "r", "severity": "high", "exe": "/tmp/x", "remote_ip": "2001:db8::1", "remote_port": 443,
                 "dedup_key": "k", "case": "INC-1", "profile": "full", "time": "2026-11-20T14:03:27Z" }),
    );
    assert_eq!(flat.target.remote_ip, Some("2001:db8::1".parse().unwrap()));
    assert_eq!((flat.dedup_key.as_deref(), flat.case.as_deref()), (Some("k"), Some("INC-1")));
    assert_eq!(flat.profile, Some(Profile::Full));
    let host = one("generic", &json!({ "reason": "drill", "whole_host": true }));
    assert!(host.target.whole_host && host.rule == "drill");
    // What a trigger looks like when we show it can be sent as it is.
    let again = one("native", &serde_json::to_value(&flat).unwrap());
    assert_eq!((again.rule, again.severity, again.target), (flat.rule, flat.severity, flat.target));
}

#[test]
fn whoever_writes_the_generic_form_wrong_is_told_which_field() {
    for (body, words) in [
        (r"7", "JSON object"),
        (r"{}", "`rule`"),
        (r#"{"rule":"r","severity":"bad"}"#, "`severity` must be info"),
        (r#"{"rule":"r","pid":0}"#, "`pid`"),
        (r#"{"rule":"r","pid":"x"}"#, "`pid`"),
        (r#"{"rule":"r","uid":-1}"#, "`uid`"),
        (r#"{"rule":"r","remote_ip":"localhost"}"#, "`remote_ip`"),
        (r#"{"rule":"r","remote_port":70000}"#, "`remote_port`"),
        (r#"{"type":"t","data":{"remote":{"ip":"x"}}}"#, "`ip`"),
        (r#"{"rule":"r","time":"yesterday"}"#, "`time`"),
        (r#"{"rule":"r","exe":["/bin/x"]}"#, "`exe`"),
        (r#"{"rule":"r","container_id":"short"}"#, "`container_id`"),
    ] {
        let said = refused("generic", body);
        assert!(said.contains(words), "{body}: {said}");
    }
}

#[test]
fn what_is_not_json_is_said_with_its_place() {
    for sender in ["falco", "alertmanager", "generic"] {
        assert!(refused(sender, "{\n  \"rule\" }").contains("line 2 column"), "{sender}");
        let deep = "[".repeat(100_000);
        assert!(refused(sender, &deep).contains("recursion limit"), "{sender}");
    }
    assert!(refused("nobody\u{1b}[2J", "{}").contains("nobody\\x1B"));
}

#[test]
fn a_signed_messages_id_is_its_key_unless_it_names_one() {
    let body = br#"{"rule":"r"}"#;
    let trigger = adapt("generic", body, Some("m1")).unwrap().triggers.remove(0);
    assert_eq!((trigger.event_id.as_deref(), trigger.dedup_key.as_deref()), (Some("m1"), Some("m1")));
    let body = br#"{"rule":"r","dedup_key":"k"}"#;
    let trigger = adapt("generic", body, Some("m1")).unwrap().triggers.remove(0);
    assert_eq!(trigger.dedup_key.as_deref(), Some("k"));
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            Just(json!("firing")),
        ];
        let name = prop_oneof![
            Just("rule"),
            Just("output_fields"),
            Just("alerts"),
            Just("status"),
            Just("labels"),
            Just("data"),
            Just("target"),
            Just("remote"),
            Just("pid"),
            Just("proc.pid"),
            Just("fd.name"),
            Just("time"),
            Just("container_id"),
            Just("severity"),
            Just("type"),
            Just("ip"),
            Just("port"),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_in_words(body: Vec<u8>) {
            for sender in SENDERS {
                if let Err(error) = adapt(sender, &body, None) {
                    prop_assert!(error.to_string().len() > 10);
                }
            }
        }

        #[test]
        fn any_json_gives_bounded_triggers(body in any_json()) {
            let body = body.to_string();
            for sender in SENDERS {
                if let Ok(adapted) = adapt(sender, body.as_bytes(), Some("m")) {
                    prop_assert!(adapted.triggers.len() <= TRIGGERS_MAX);
                    for trigger in adapted.triggers {
                        prop_assert_eq!(trigger.sender.as_str(), sender);
                        prop_assert!(!trigger.rule.is_empty() && trigger.rule.len() <= 256);
                        let text = serde_json::to_string(&trigger).unwrap();
                        prop_assert_eq!(serde_json::from_str::<Trigger>(&text).unwrap(), trigger);
                    }
                }
            }
        }
    }
}
