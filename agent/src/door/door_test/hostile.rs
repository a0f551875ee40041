use super::*;

#[test]
fn malformed_requests_do_not_disturb_the_door() {
    let world = World::accepting();
    for request in [
        &b"\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nab",
        b"POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = world.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        if let Some(answer) = answer(&mut stream) {
            assert!((400..500).contains(&answer.status), "{answer:?} to {}", request.escape_ascii());
        }
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(world.raw(many.as_bytes()).unwrap().status, 431);
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(64 * 1024));
    assert_eq!(world.raw(long.as_bytes()).unwrap().status, 431);
    assert_eq!(world.get("/healthz", "").status, 200);
}

#[test]
fn hostile_json_is_refused_in_words() {
    let world = World::accepting();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    for body in [
        deep.as_slice(),
        br#"{"rule":1e999}"#,
        br#"{"rule":{"rule":"x"}}"#,
        br#"{"kind":0}"#,
        b"5E5555",
        b"\xff\xfe{\x00}",
        b"{\"rule\":\"\xff\"}",
        b"nul",
    ] {
        for sender in ["falco", "alertmanager", "generic"] {
            let path = format!("/v1/triggers/{sender}");
            let said = world.post(&path, &world.bearer("trigger"), body).problem(400);
            assert!(said.len() > 20, "{said}");
        }
    }
    assert!(world.asked.try_recv().is_err());
}

#[test]
fn slow_clients_are_given_up_and_others_served() {
    let world = World::accepting();
    let begun = std::time::Instant::now();
    let mut slow: Vec<TcpStream> = (0..200).map(|_| world.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /v1/triggers/falco HTTP/1.1\r\nHo").unwrap();
    }
    assert_eq!(world.get("/healthz", "").status, 200);
    for stream in &mut slow {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    }
    assert!(begun.elapsed() < DEADLINE, "the door closes them by itself");
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let world = World::accepting();
    let head = format!(
        "POST /v1/triggers/falco HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}Content-Length: 100\r\n\r\n{{",
        world.bearer("trigger")
    );
    assert!(world.raw(head.as_bytes()).unwrap().problem(408).contains("10 seconds"));
}

#[test]
fn when_the_recorder_is_silent_the_client_is_told_to_come_again() {
    let world = World::new(|_| None);
    let answer = world.get("/v1/bundles", &world.bearer("read"));
    assert!(answer.problem(503).contains("afterimage status"));
    assert!(answer.headers.contains_key("retry-after"));
}
