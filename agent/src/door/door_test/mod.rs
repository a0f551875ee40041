//! The door's HTTP, against a recorder that plays its part.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::secrets::{Role, Secrets, Wish};
use crate::ipc::{Channel, ToDoor, ToRecorder};

mod bundles;
mod hostile;
mod imprisoned;
mod pulls;
mod triggers;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// An open door, and its recorder.
struct World {
    address: SocketAddr,
    tokens: HashMap<&'static str, String>,
    asked: Receiver<ToRecorder>,
    /// Closing it ends the door.
    recorder: Channel,
}

impl Drop for World {
    fn drop(&mut self) {
        self.recorder.shut_down();
    }
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is a problem of this status, and gives its sentence.
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json()["status"], status);
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

impl World {
    /// A door whose recorder answers with `play`.
    fn new(play: impl FnMut(&ToRecorder) -> Option<(ToDoor, Option<OwnedFd>)> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (recorder, door) = Channel::pair().unwrap();
        std::thread::spawn(move || super::serve(listener, door, Value::Null).unwrap());
        let (secrets, tokens) = secrets();
        recorder.send(&ToDoor::Secrets(secrets), &[]).unwrap();
        let world = Self::with(address, recorder, tokens, play);
        // The greeting shows that the door has the secrets: it waits for them.
        assert!(matches!(world.next(), ToRecorder::Health { .. }));
        world
    }

    /// The recorder of a door that is open at `address`.
    fn with(
        address: SocketAddr,
        recorder: Channel,
        tokens: HashMap<&'static str, String>,
        mut play: impl FnMut(&ToRecorder) -> Option<(ToDoor, Option<OwnedFd>)> + Send + 'static,
    ) -> Self {
        let (report, asked) = channel();
        let playing = Channel::new(recorder.as_fd().try_clone_to_owned().unwrap());
        std::thread::spawn(move || {
            while let Ok(Some((question, _))) = playing.recv::<ToRecorder>() {
                if let Some((answer, descriptor)) = play(&question) {
                    let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
                    drop(playing.send(&answer, &descriptors));
                }
                drop(report.send(question));
            }
        });
        Self { address, tokens, asked, recorder }
    }

    /// A door whose recorder accepts everything.
    fn accepting() -> Self {
        Self::new(|question| match question {
            ToRecorder::Trigger { request, .. } => {
                Some((ToDoor::Accepted { request: *request, id: Uuid::from_u128(7) }, None))
            }
            _ => None,
        })
    }

    fn next(&self) -> ToRecorder {
        self.asked.recv_timeout(DEADLINE).unwrap()
    }

    fn bearer(&self, token: &str) -> String {
        format!("Authorization: Bearer {}\r\n", self.tokens[token])
    }

    /// Sends a request as it stands, and reads the answer to its end.
    fn raw(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // A door that refuses may close before all is written.
        drop(stream.write_all(request));
        answer(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers, b"")
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, headers, body)
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(&request).unwrap()
    }
}

fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}

/// A token of each kind.
fn secrets() -> (Secrets, HashMap<&'static str, String>) {
    let mut secrets = Secrets::default();
    let mut tokens = HashMap::new();
    for (name, role, sender, signed) in [
        ("trigger", Role::Trigger, None, false),
        ("falco", Role::Trigger, Some("falco"), false),
        ("read", Role::Read, None, false),
        ("admin", Role::Admin, None, false),
        ("signer", Role::Trigger, None, true),
    ] {
        let sender = sender.map(str::to_owned);
        let wish = Wish { name: Some(name.to_owned()), role, sender, signed };
        tokens.insert(name, secrets.add(wish, Timestamp::UNIX_EPOCH).unwrap().1);
    }
    (secrets, tokens)
}

#[test]
fn only_healthz_answers_without_a_token() {
    let world = World::accepting();
    let answer = world.get("/healthz", "");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    let id = Uuid::nil();
    let paths = [
        "/",
        "/readyz",
        "/metrics",
        "/v1/captures",
        &format!("/v1/captures/{id}"),
        "/v1/bundles",
        &format!("/v1/bundles/{id}"),
        &format!("/v1/bundles/{id}/content"),
        "/v1/triggers/falco",
        "/v1/triggers/nobody",
        "/v1/../etc/passwd",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            for headers in ["", "Authorization: Bearer afi_wrong\r\n", "Authorization: Basic eDp5\r\n"] {
                let answer = world.ask(method, path, headers, b"");
                answer.problem(401);
                assert!(answer.headers["www-authenticate"].starts_with("Bearer"), "{method} {path}");
            }
        }
        let head = world.ask("HEAD", path, "", b"");
        assert_eq!((head.status, head.body.len()), (401, 0), "{path}");
    }
    assert!(world.asked.try_recv().is_err(), "the recorder hears of none of them");
}

#[test]
fn new_secrets_hold_from_now_on() {
    let world = World::accepting();
    world.recorder.send(&ToDoor::Secrets(Secrets::default()), &[]).unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while world.get("/readyz-not", &world.bearer("admin")).status != 401 {
        assert!(std::time::Instant::now() < deadline, "the old token is still valid");
    }
}

#[test]
fn the_door_ends_with_its_recorder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (recorder, door) = Channel::pair().unwrap();
    let serving = std::thread::spawn(move || super::serve(listener, door, Value::Null));
    drop(recorder);
    serving.join().unwrap().unwrap();
}
