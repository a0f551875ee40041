use super::*;

fn process(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([0xab; 16]), pid, start: 4711 }
}

fn event(action: Action) -> Event {
    let time = "2026-11-20T14:03:27.518236914Z".parse().unwrap();
    Event { time, source: Source::Probe { cpu: 1, seq: 7 }, process: process(42), action }
}

#[test]
fn an_exec_is_one_flat_ecs_object_and_comes_back() {
    let image = Image {
        parent: Some(process(1)),
        name: Bytes::from("x"),
        executable: Bytes::from("/tmp/\u{1b}x"),
        args: vec![Bytes::from("x"), Bytes::from(&[0xff, b'\\'])],
        links: Some(0),
        ..Image::default()
    };
    let event = event(Action::Exec(Box::new(image)));
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(json["event.action"], "exec");
    assert_eq!(json["process.pid"], 42);
    assert_eq!(json["process.entity_id"], format!("{}-42-4711", "ab".repeat(16)));
    assert_eq!(json["process.executable"], "/tmp/\\x1Bx");
    assert_eq!(json["process.args"][1], "\\xFF\\\\");
    assert_eq!(json["@timestamp"], "2026-11-20T14:03:27.518236914Z");
    assert_eq!(serde_json::from_str::<Event>(&json.to_string()).unwrap(), event);
}

#[test]
fn network_and_agent_events_come_back() {
    let flow = Flow { local: "10.0.0.2:0".parse().unwrap(), remote: "[2001:db8::1]:443".parse().unwrap() };
    let exit = Exit { code: 3, signal: 9 };
    let since = "2026-11-20T14:03:20Z".parse().unwrap();
    let gap = Gap { since, reason: "the recorder was stopped".to_owned() };
    for action in [Action::Connect(flow), Action::Exit(exit), Action::Gap(gap)] {
        let event = event(action);
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[test]
fn identities_that_are_not_are_refused() {
    for text in
        ["", "1-2-3", "zz-1-2", &format!("{}-1", "ab".repeat(16)), &format!("{}-1-2-3", "ab".repeat(16))]
    {
        assert!(text.parse::<ProcessId>().is_err(), "{text}");
    }
}
