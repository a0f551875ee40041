//! What cloud-init runs: `bootcmd` and `runcmd` of its settings and of user data, and user data that are a script.

use serde_yaml_ng::Value;

use super::lines::contains;
use super::{Source, Start};

/// Commands, and when they are run.
const KEYS: [(&str, &str); 2] =
    [("bootcmd", "at every boot (cloud-init)"), ("runcmd", "at the first boot (cloud-init)")];

pub(super) fn config(source: &Source<'_>) -> Vec<Start> {
    if source.text.starts_with(b"#!") {
        return super::shell::script(&Source { when: "at the first boot (cloud-init user data)", ..*source });
    }
    if !KEYS.iter().any(|(key, _)| contains(source.text, key.as_bytes())) {
        return Vec::new();
    }
    let Ok(Value::Mapping(all)) = serde_yaml_ng::from_slice::<Value>(source.text) else { return Vec::new() };
    let mut starts = Vec::new();
    for (key, when) in KEYS {
        let Some(Value::Sequence(commands)) = all.get(key) else { continue };
        for command in commands.iter().filter_map(line) {
            starts.push(source.command(0, source.owner(), command.as_bytes(), when));
        }
    }
    starts
}

/// A command is a line for the shell, or a list of words.
fn line(command: &Value) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    };
    match command {
        Value::Sequence(words) => {
            let words: Vec<String> = words.iter().filter_map(scalar).map(quoted).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        other => scalar(other),
    }
}

fn quoted(word: String) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-=:,+@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
