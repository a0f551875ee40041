//! Containers that a runtime starts again, from its own records: Docker's, and the kubelet's static pods.

use serde::Deserialize;

use super::lines::show;
use super::{Source, Start, Who};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    path: String,
    args: Option<Vec<String>>,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    user: String,
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Host {
    restart_policy: Option<Policy>,
    privileged: bool,
    binds: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Policy {
    name: String,
}

/// `config.v2.json`, with `hostconfig.json` beside it.
pub(super) fn docker(source: &Source<'_>) -> Vec<Start> {
    let Ok(container) = serde_json::from_slice::<Container>(source.text) else { return Vec::new() };
    let host = serde_json::from_slice::<Host>(source.beside).unwrap_or_default();
    let policy = host.restart_policy.unwrap_or_default().name;
    if matches!(policy.as_str(), "" | "no") {
        return Vec::new();
    }
    let name = container.name.trim_start_matches('/');
    let name = if name.is_empty() { container.id.as_str() } else { name };
    let words: Vec<&str> = std::iter::once(container.path.as_str())
        .chain(container.args.iter().flatten().map(String::as_str))
        .collect();
    let user = if container.config.user.is_empty() { "root" } else { &container.config.user };
    let who = Who::User(format!("{user} of the container {name}").into_bytes());
    let when = format!("with Docker: restart policy {policy}; image {}", container.config.image);
    let command = words.join(" ");
    let mut one = source.thing(0, who, command.as_bytes(), None, show(when.as_bytes()));
    let binds = host.binds.unwrap_or_default();
    if binds.iter().any(|bind| bind.starts_with("/:")) {
        one.odd.push("a container that has the host's whole root");
    } else if host.privileged {
        one.when.push_str("; privileged");
    }
    one.odd.extend(super::reasons::of_command(command.as_bytes(), b""));
    vec![one]
}

/// A pod in a manifest that the kubelet starts by itself.
pub(super) fn pod(source: &Source<'_>) -> Vec<Start> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        containers: Vec<Member>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Member {
        image: String,
        command: Vec<String>,
        args: Vec<String>,
    }
    let Ok(pod) = serde_yaml_ng::from_slice::<Pod>(source.text) else { return Vec::new() };
    let start = |member: Member| {
        let words = [member.command, member.args].concat().join(" ");
        let what = format!("{} {words}", member.image);
        let mut one = source.thing(
            0,
            Who::User(b"root of the pod".to_vec()),
            what.trim_end().as_bytes(),
            None,
            "with the kubelet",
        );
        one.odd.extend(super::reasons::of_command(words.as_bytes(), b""));
        one
    };
    pod.spec.containers.into_iter().map(start).collect()
}
