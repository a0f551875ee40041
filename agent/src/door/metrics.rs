//! What the recorder counts, as OpenMetrics text (openmetrics.io, version 1.0.0). Pure.

use std::fmt::Write;

use serde_json::Value;

/// As HTTP names it.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number of the health report: its name here, whether it only grows, what it means, where it stands.
type Row = (&'static str, bool, &'static str, &'static str);

const ROWS: [Row; 10] = [
    ("afterimage_events", true, "Events handed to the history", "/counts/recorder/events"),
    ("afterimage_history_lost_events", true, "Of these, not written", "/counts/recorder/history_lost"),
    ("afterimage_sifted_calls", true, "Calls that are not worth keeping", "/counts/recorder/sifted"),
    ("afterimage_stashed_executables", true, "Executables in the stash", "/counts/recorder/stashed"),
    ("afterimage_missed_executables", true, "Executables not taken", "/counts/recorder/stash_missed"),
    ("afterimage_kernel_lost_records", true, "Records lost in the kernel", "/counts/kernel/lost"),
    (
        "afterimage_kernel_skipped_runs",
        true,
        "Runs of programs that the kernel skipped",
        "/counts/kernel/skipped",
    ),
    ("afterimage_processes", false, "Processes in memory", "/processes"),
    ("afterimage_captures_running", false, "Captures that run", "/captures/running"),
    ("afterimage_captures_waiting", false, "Captures that wait", "/captures/waiting"),
];
const STATES: [&str; 3] = ["attempted", "submitted", "lost"];

/// The text for a health report; what is not in it is left out.
pub(super) fn render(ready: bool, health: &Value) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing into a string cannot fail.
        text.write_fmt(words).unwrap_or_default();
        text.push('\n');
    };
    line(format_args!("# TYPE afterimage_ready gauge"));
    line(format_args!("afterimage_ready {}", u8::from(ready)));
    for (name, counts, help, place) in ROWS {
        let Some(value) = health.pointer(place).and_then(Value::as_u64) else { continue };
        let (kind, ending) = if counts { ("counter", "_total") } else { ("gauge", "") };
        line(format_args!("# TYPE {name} {kind}"));
        line(format_args!("# HELP {name} {help}."));
        line(format_args!("{name}{ending} {value}"));
    }
    let kinds = health.pointer("/counts/kernel/kinds").and_then(Value::as_object);
    line(format_args!("# TYPE afterimage_records counter"));
    line(format_args!("# HELP afterimage_records Records of the probe: attempted is submitted plus lost."));
    for (kind, counts) in kinds.into_iter().flatten() {
        for state in STATES {
            let value = counts.get(state).and_then(Value::as_u64).unwrap_or(0);
            line(format_args!("afterimage_records_total{{kind=\"{kind}\",state=\"{state}\"}} {value}"));
        }
    }
    let gaps = health.pointer("/gaps").and_then(Value::as_array);
    let of = |action: &str| {
        gaps.into_iter()
            .flatten()
            .filter(|event| event.get("event.action").is_some_and(|found| found == action))
            .count()
    };
    line(format_args!("# TYPE afterimage_gaps gauge"));
    line(format_args!("# HELP afterimage_gaps Gaps told since the start, and those open now."));
    line(format_args!("afterimage_gaps {}", of("gap")));
    line(format_args!("# EOF"));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_become_lines_and_what_is_missing_is_left_out() {
        let health = json!({
            "counts": {
                "kernel": { "lost": 3, "kinds": { "exec": { "attempted": 5, "submitted": 2, "lost": 3 } } },
                "recorder": { "events": 2 },
            },
            "gaps": [{ "event.action": "gap" }, { "event.action": "loss" }],
        });
        let text = render(true, &health);
        for line in [
            "afterimage_ready 1",
            "afterimage_events_total 2",
            "afterimage_kernel_lost_records_total 3",
            "afterimage_records_total{kind=\"exec\",state=\"attempted\"} 5",
            "afterimage_gaps 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("afterimage_processes") && text.ends_with("# EOF\n"));
        assert!(
            render(false, &Value::Null).starts_with("# TYPE afterimage_ready gauge\nafterimage_ready 0\n")
        );
    }
}
