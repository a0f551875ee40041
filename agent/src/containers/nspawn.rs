//! systemd-machined's record of a machine: `KEY=value` lines in /run/systemd/machines, which are no stable interface but have been the
//! same since systemd 220.

use super::{Container, Runtime};

/// The record of a container of systemd-nspawn; of other machines nothing.
pub(crate) fn nspawn(text: &[u8]) -> Option<Container> {
    let text = String::from_utf8_lossy(text);
    let of = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').replace("\\x2d", "-")).unwrap_or_default()
    };
    let (name, class, service) = (of("NAME"), of("CLASS"), of("SERVICE"));
    let is_one =
        !name.is_empty() && class == "container" && matches!(service.as_str(), "systemd-nspawn" | "nspawn");
    let started =
        of("REALTIME").parse::<i64>().ok().and_then(|time| jiff::Timestamp::from_microsecond(time).ok());
    is_one.then(|| Container {
        id: name.clone(),
        name,
        runtime: Some(Runtime::Nspawn),
        root: of("ROOT"),
        started: started.map(|time| format!("{time}")).unwrap_or_default(),
        ..Container::default()
    })
}
