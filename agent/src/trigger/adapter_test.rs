use serde_json::{Value, json};

use super::*;

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
