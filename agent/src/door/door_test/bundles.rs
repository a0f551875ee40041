use std::io::Seek;

use sha2::{Digest, Sha256};

use super::*;
use crate::ipc::message::{BundleState, CaptureState, Stage};
use crate::text;

const SIZE: usize = 600_000;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect()
}

fn state() -> BundleState {
    BundleState {
        id: Uuid::from_u128(5),
        file: "x\"\u{e9}.tar.zst".to_owned(),
        size: u64::try_from(SIZE).unwrap(),
        sha256: text::hex(&Sha256::digest(content())),
        modified: "2026-11-20T14:03:27Z".parse().unwrap(),
        complete: Some(true),
    }
}

fn world() -> World {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content()).unwrap();
    World::new(move |question| {
        Some(match question {
            ToRecorder::Bundles { request, page } => {
                let bundles = if page.before.is_none() { vec![state()] } else { Vec::new() };
                (ToDoor::Bundles { request: *request, bundles }, None)
            }
            ToRecorder::OpenBundle { request, id, .. } if *id == state().id => {
                // The position is shared by all copies of the descriptor: the door must not depend on it.
                file.seek(std::io::SeekFrom::End(0)).unwrap();
                let copy = file.try_clone().unwrap().into();
                (ToDoor::Bundle { request: *request, bundle: state() }, Some(copy))
            }
            ToRecorder::Captures { request, .. } => {
                (ToDoor::Captures { request: *request, captures: vec![capture()] }, None)
            }
            ToRecorder::Capture { request, id } if *id == capture().id => {
                (ToDoor::Capture { request: *request, capture: Box::new(capture()) }, None)
            }
            other => (ToDoor::NotFound { request: number(other) }, None),
        })
    })
}

fn number(question: &ToRecorder) -> u64 {
    match question {
        ToRecorder::Trigger { request, .. }
        | ToRecorder::Captures { request, .. }
        | ToRecorder::Capture { request, .. }
        | ToRecorder::Bundles { request, .. }
        | ToRecorder::OpenBundle { request, .. }
        | ToRecorder::Health { request, .. } => *request,
    }
}

fn capture() -> CaptureState {
    CaptureState {
        id: Uuid::from_u128(6),
        accepted: "2026-11-20T14:03:27Z".parse().unwrap(),
        sender: "falco".to_owned(),
        rule: "R".to_owned(),
        stage: Stage::Collecting,
        detail: Some("memory".to_owned()),
        done: 1,
        total: 9,
        bytes: 4711,
        bundle: None,
    }
}

fn path() -> String {
    format!("/v1/bundles/{}/content", state().id)
}

#[test]
fn lists_and_single_states() {
    let world = world();
    let get = |path: &str| world.get(path, &world.bearer("read"));
    assert_eq!(get("/v1/bundles").json()["bundles"][0]["sha256"], state().sha256.as_str());
    let after = format!("/v1/bundles?limit=5&before={}", Uuid::nil());
    assert!(get(&after).json()["bundles"].as_array().unwrap().is_empty());
    assert!(get("/v1/bundles?limit=many").problem(400).contains("limit"));
    assert_eq!(get(&format!("/v1/bundles/{}", state().id)).json()["size"], SIZE);
    get(&format!("/v1/bundles/{}", Uuid::nil())).problem(404);
    get("/v1/bundles/..%2f..%2fetc%2fpasswd/content").problem(404);
    assert_eq!(get("/v1/captures").json()["captures"][0]["stage"], "collecting");
    assert_eq!(get(&format!("/v1/captures/{}", capture().id)).json()["done"], 1);
    let mine = world.get(&format!("/v1/captures/{}", capture().id), &world.bearer("trigger"));
    assert_eq!(mine.status, 200, "whoever triggered may see how far it is");
    get("/v1/captures/7").problem(404);
}

#[test]
fn a_bundle_is_sent_whole_with_its_hash() {
    let world = world();
    let whole = world.get(&path(), &world.bearer("read"));
    assert_eq!(whole.status, 200);
    assert!(whole.body == content());
    assert_eq!(whole.headers["etag"], format!("\"{}\"", state().sha256));
    assert!(whole.headers["repr-digest"].starts_with("sha-256=:"));
    assert_eq!(whole.headers["content-disposition"], "attachment; filename=\"x.tar.zst\"");
    assert_eq!(whole.headers["last-modified"], "Fri, 20 Nov 2026 14:03:27 GMT");
    let head = world.ask("HEAD", &path(), &world.bearer("read"), b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], SIZE.to_string());
    let again = format!("{}If-None-Match: \"{}\"\r\n", world.bearer("read"), state().sha256);
    assert_eq!(world.get(&path(), &again).status, 304);
}

#[test]
fn ranges_of_a_bundle() {
    let world = world();
    let content = content();
    let tag = state().sha256;
    for (headers, status, expected) in [
        ("Range: bytes=0-0".to_owned(), 206, 0..1),
        ("Range: bytes=599990-".to_owned(), 206, 599_990..SIZE),
        ("Range: bytes=1000-400000".to_owned(), 206, 1000..400_001),
        ("Range: bytes=-7".to_owned(), 206, SIZE - 7..SIZE),
        ("Range: bytes=-9999999".to_owned(), 206, 0..SIZE),
        ("Range: bytes=5-9999999".to_owned(), 206, 5..SIZE),
        (format!("Range: bytes=5-6\r\nIf-Range: \"{tag}\""), 206, 5..7),
        (format!("Range: bytes=5-6\r\nIf-Range: W/\"{tag}\""), 200, 0..SIZE),
        ("Range: bytes=5-6\r\nIf-Range: \"other\"".to_owned(), 200, 0..SIZE),
        ("Range: bytes=0-1,3-4".to_owned(), 200, 0..SIZE),
        ("Range: bytes=9-5".to_owned(), 200, 0..SIZE),
        ("Range: rows=1-2".to_owned(), 200, 0..SIZE),
    ] {
        let answer = world.get(&path(), &format!("{}{headers}\r\n", world.bearer("admin")));
        assert_eq!(answer.status, status, "{headers}");
        assert!(answer.body == content[expected.clone()], "{headers}");
        if status == 206 {
            let range = format!("bytes {}-{}/{SIZE}", expected.start, expected.end - 1);
            assert_eq!(answer.headers["content-range"], range);
        }
    }
    for range in ["bytes=600000-", "bytes=700000-800000", "bytes=-0"] {
        let answer = world.get(&path(), &format!("{}Range: {range}\r\n", world.bearer("read")));
        answer.problem(416);
        assert_eq!(answer.headers["content-range"], format!("bytes */{SIZE}"));
    }
}

#[test]
fn a_file_that_became_shorter_is_not_passed_off_as_whole() {
    let world = World::new(|question| match question {
        ToRecorder::OpenBundle { request, .. } => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"short").unwrap();
            Some((ToDoor::Bundle { request: *request, bundle: state() }, Some(file.into())))
        }
        _ => None,
    });
    let answer = world.get(&path(), &world.bearer("read"));
    assert!(answer.body.len() < SIZE && answer.headers["content-length"] == SIZE.to_string());
}
