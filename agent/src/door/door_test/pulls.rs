//! `afterimage pull` at a real door.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use sha2::{Digest, Sha256};

use super::*;
use crate::cmd::pull::{PullArgs, run};
use crate::cmd::{Context, Error, Exit};
use crate::ipc::message::BundleState;
use crate::text;

const SIZE: usize = 700_000;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    pull: PullArgs,
}

fn content(of: u8) -> Vec<u8> {
    (0..SIZE).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)] ^ of).collect()
}

fn state(of: u8) -> BundleState {
    BundleState {
        id: Uuid::from_u128(0x1_0000 + u128::from(of)),
        file: "../../etc/passwd".to_owned(),
        size: u64::try_from(SIZE).unwrap(),
        sha256: text::hex(&Sha256::digest(content(of))),
        modified: Timestamp::UNIX_EPOCH,
        complete: None,
    }
}

fn file(of: u8, bytes: usize) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content(of)[..bytes]).unwrap();
    file.into()
}

/// A host with three bundles, of which a list shows one at a time; `serve` says how much of a bundle is there the
/// n-th time it is opened.
fn host(serve: impl Fn(usize) -> usize + Send + 'static) -> (World, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let world = World::new(move |question| {
        Some(match question {
            ToRecorder::Bundles { request, page } => {
                let older = |bundle: &BundleState| page.before.is_none_or(|before| bundle.id < before);
                let bundles = (1..=3).rev().map(state).find(older).into_iter().collect();
                (ToDoor::Bundles { request: *request, bundles }, None)
            }
            ToRecorder::OpenBundle { request, id, .. } => match (1..=3).find(|of| state(*of).id == *id) {
                Some(of) => {
                    let bytes = serve(counter.fetch_add(1, Ordering::Relaxed));
                    (ToDoor::Bundle { request: *request, bundle: state(of) }, Some(file(of, bytes)))
                }
                None => (ToDoor::NotFound { request: *request }, None),
            },
            _ => return None,
        })
    });
    (world, opened)
}

fn pull(world: &World, token: &str, directory: &Path, more: &[&str]) -> Result<Exit, Error> {
    let tokens = directory.join("token");
    std::fs::write(&tokens, format!("{}\n", world.tokens[token])).unwrap();
    let (url, output) = (format!("http://{}/", world.address), directory.join("out"));
    let mut words = vec!["pull".as_ref(), url.as_ref(), "--token-file".as_ref(), tokens.as_os_str()];
    words.extend(["--output".as_ref(), output.as_os_str()]);
    words.extend(more.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    let typed = Typed::try_parse_from(words).unwrap();
    run(&typed.pull, &context(directory))
}

/// A host without keys of its own.
fn context(state: &Path) -> Context {
    let mut config = crate::config::Config::default();
    state.clone_into(&mut config.paths.state);
    Context { config, json: true }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("out")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn name(of: u8) -> String {
    format!("{}.tar.zst", state(of).id)
}

#[test]
fn all_bundles_are_fetched_once_under_names_of_our_own() {
    let (world, opened) = host(|_| SIZE);
    let directory = tempfile::tempdir().unwrap();
    // These are no real bundles, and the verifier says so: the program fails, the files are here.
    assert_eq!(pull(&world, "read", directory.path(), &[]).unwrap(), Exit::Failed);
    assert_eq!(names(directory.path()), [name(1), name(2), name(3)]);
    assert!(std::fs::read(directory.path().join("out").join(name(2))).unwrap() == content(2));
    assert_eq!(opened.load(Ordering::Relaxed), 3);
    pull(&world, "read", directory.path(), &[]).unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 3, "what is here is not fetched again");
}

#[test]
fn what_broke_off_is_resumed() {
    let (world, opened) = host(|time| if time < 2 { SIZE / 2 } else { SIZE });
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("out")).unwrap();
    let part = directory.path().join("out").join(format!("{}.part", name(1)));
    std::fs::write(&part, &content(1)[..1000]).unwrap();
    let id = state(1).id.to_string();
    // The first question only describes it; the second breaks off in the middle; the third brings the rest.
    pull(&world, "admin", directory.path(), &[&id]).unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 3);
    assert_eq!(names(directory.path()), [name(1)]);
    assert!(std::fs::read(directory.path().join("out").join(name(1))).unwrap() == content(1));
}

#[test]
fn a_part_of_something_else_is_found_out_and_nothing_is_overwritten() {
    let (world, _) = host(|_| SIZE);
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join(format!("{}.part", name(1))), [7; 1000]).unwrap();
    let id = state(1).id.to_string();
    let refused = pull(&world, "read", directory.path(), &[&id]).unwrap_err();
    assert!(refused.exit == Exit::Tampered && refused.words.contains("hash"), "{}", refused.words);
    assert_eq!(names(directory.path()), [format!("{}.part", name(1))]);

    std::fs::write(out.join(name(2)), b"mine").unwrap();
    let id = state(2).id.to_string();
    let refused = pull(&world, "read", directory.path(), &[&id]).unwrap_err();
    assert!(refused.words.contains("move it away"), "{}", refused.words);
    assert_eq!(std::fs::read(out.join(name(2))).unwrap(), b"mine");
}

#[test]
fn a_link_in_the_place_of_the_part_is_not_followed() {
    let (world, _) = host(|_| SIZE);
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let victim = directory.path().join("victim");
    std::os::unix::fs::symlink(&victim, out.join(format!("{}.part", name(1)))).unwrap();
    assert!(pull(&world, "read", directory.path(), &[&state(1).id.to_string()]).is_err());
    assert!(!victim.exists());
}

#[test]
fn a_part_that_is_whole_or_too_long_needs_no_luck() {
    for (length, opened_again) in [(SIZE, 1), (SIZE + 5, 2)] {
        let (world, opened) = host(|_| SIZE);
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let mut bytes = content(1);
        bytes.resize(length, 0);
        std::fs::write(out.join(format!("{}.part", name(1))), bytes).unwrap();
        pull(&world, "read", directory.path(), &[&state(1).id.to_string()]).unwrap();
        assert!(std::fs::read(out.join(name(1))).unwrap() == content(1));
        assert_eq!(opened.load(Ordering::Relaxed), opened_again);
    }
}

#[test]
fn the_doors_own_words_are_shown() {
    let (world, _) = host(|_| SIZE);
    let directory = tempfile::tempdir().unwrap();
    let said = |token: &str, id: &str| pull(&world, token, directory.path(), &[id]).unwrap_err().words;
    let known = state(1).id.to_string();
    assert!(said("trigger", &known).contains("--role read"));
    assert!(said("signer", &known).contains("answers 401"));
    assert!(said("read", &Uuid::nil().to_string()).contains("answers 404"));
}

#[test]
fn an_address_that_is_none_is_explained() {
    for url in ["https://127.0.0.1:1", "127.0.0.1:8740", "ftp://x"] {
        let typed = Typed::try_parse_from(["pull", url, "--token-file", "/dev/null"]).unwrap();
        let refused = run(&typed.pull, &context(Path::new("/nowhere"))).unwrap_err();
        assert!(refused.exit == Exit::Usage && refused.words.contains("http://"), "{}", refused.words);
    }
}
