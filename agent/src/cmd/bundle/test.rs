//! The commands over a bundle with a tree, a history and hostile names in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::bundle::test::{Lab, attempt, fill, job};
use crate::bundle::{Bag, Ended, Name, Outcome};
use crate::cmd::bundle::tree::Process;
use crate::event::{Action, BootId, Event, Fork, Gap, Image, ProcessId, Source};
use crate::history::tree::{Bounds, Node, Tree};
use crate::text::Bytes;

fn process(pid: u32) -> ProcessId {
    ProcessId { boot: BootId([1; 16]), pid, start: 7 }
}

fn event(time: Timestamp, pid: u32, action: Action) -> Event {
    Event { time, source: Source::Scan, process: process(pid), action }
}

/// Two segments, the second with its events out of order, and the last after the trigger.
fn segments(trigger: Timestamp) -> [Vec<Event>; 2] {
    let at = |seconds: i64| trigger.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    let image = Image { executable: Bytes::from("/tmp/\x1b[2Jx"), ..Image::default() };
    let gap = Gap { since: at(-50), reason: "the recorder was stopped".to_owned() };
    [
        vec![
            event(at(-90), 41, Action::Fork(Fork { parent: Some(process(40)), name: Bytes::from("sh") })),
            event(at(-80), 41, Action::Exec(Box::new(image))),
        ],
        vec![
            event(at(-30), 41, Action::Exit(crate::event::Exit { code: 3, signal: 0 })),
            event(at(-40), 40, Action::Gap(gap)),
            event(at(5), 40, Action::Exit(crate::event::Exit { code: 0, signal: 9 })),
        ],
    ]
}

fn put_history(bag: &mut Bag, segments: &[Vec<Event>]) {
    let mut tree = Tree::new(Bounds::COLLECTOR);
    for (number, events) in segments.iter().enumerate() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for event in events {
            tree.apply(event);
            serde_json::to_writer(&mut encoder, event).unwrap();
            encoder.write_all(b"\n").unwrap();
        }
        let name = format!("20261120T14000{number}.000000000Z.jsonl.zst");
        bag.put(&Name::data(&["history", &name]), &encoder.finish().unwrap()).unwrap();
    }
    let processes: Vec<Process> = tree
        .nodes()
        .map(|node: &Node| Process { node: node.clone(), living: false, target: node.id.pid == 41 })
        .collect();
    bag.put(&Name::data(&["process", "tree.json"]), &serde_json::to_vec(&processes).unwrap()).unwrap();
}

/// A context whose store holds one bundle.
fn stored() -> (Lab, Context, PathBuf) {
    let lab = Lab::new();
    let job = job();
    let mut bag = lab.bag(&job);
    fill(&mut bag);
    put_history(&mut bag, &segments(job.accepted));
    let mut refused = attempt("mem\x1b", Outcome::Refused);
    refused.detail = Some("ptrace is not \x1b[2J allowed".to_owned());
    bag.attempt(&refused).unwrap();
    bag.finish().unwrap();
    let sealed = lab.seal(&job, Ended::Finished);
    let mut context = Context { config: crate::config::Config::default(), json: false };
    context.config.paths.state = lab.path().to_owned();
    fs::create_dir(lab.path().join("bundles")).unwrap();
    let path = lab.path().join("bundles").join(&sealed.file);
    fs::rename(lab.path().join(&sealed.file), &path).unwrap();
    (lab, context, path)
}

fn which(bundle: &str) -> Which {
    Which { bundle: Some(bundle.into()), allowed_signers: None }
}

fn text(print: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    print(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains('\x1b'), "the terminal could be steered: {text}");
    text
}

#[test]
fn show_says_what_was_taken_what_is_missing_and_why() {
    let (_lab, context, path) = stored();
    let which = which(path.to_str().unwrap());
    let signers = which.signers(&context).unwrap();
    let bundle = which.open(&context).unwrap();
    let contents = bundle.contents(&signers).unwrap();
    let (capture, signature) = contents.account.as_ref().unwrap();
    let page = text(|out| show::page(&bundle, &contents, (capture, signature), false, out).unwrap());
    for expected in [
        "person: a test",
        "trusted by the key of this host",
        "Complete  yes",
        "ok 1, partial 1, refused 1",
        "refused              1  test: ptrace is not \\x1B[2J allowed\n                          mem\\x1B\n",
        "target  41  /tmp/\\x1B[2Jx",
        "exit code 3",
        "History   5 events",
        "GAP",
        "0 events lost",
    ] {
        assert!(page.contains(expected), "{expected} is not on the page:\n{page}");
    }
    assert!(!page.contains("trigger.json"));
    let all = text(|out| show::page(&bundle, &contents, (capture, signature), true, out).unwrap());
    assert!(all.contains("data/short  (991 B could not be read)"), "{all}");
}

#[test]
fn the_timeline_is_in_order_with_the_trigger_in_its_place() {
    let (_lab, context, path) = stored();
    let which = which(path.to_str().unwrap());
    let bundle = which.open(&context).unwrap();
    let contents = bundle.contents(&which.signers(&context).unwrap()).unwrap();
    let lines = text(|out| timeline::lines(&bundle, &contents, false, out).unwrap());
    let words: Vec<&str> = lines.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(words, ["fork", "exec", "GAP", "exit", ">>>>>>>>", "exit"], "{lines}");
    let json = text(|out| timeline::lines(&bundle, &contents, true, out).unwrap());
    let marked = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert_eq!(marked.filter(|line| line["event.action"] == "trigger").count(), 1);
}

#[test]
fn the_tree_shows_lineage_ends_and_targets() {
    let (_lab, context, path) = stored();
    let which = which(path.to_str().unwrap());
    let bundle = which.open(&context).unwrap();
    let contents = bundle.contents(&which.signers(&context).unwrap()).unwrap();
    let processes = tree::read(&bundle, &contents).unwrap().unwrap();
    let lines = text(|out| tree::print(&processes, false, out).unwrap());
    assert!(lines.starts_with("40 "), "{lines}");
    assert!(lines.contains("\n  41  /tmp/\\x1B[2Jx"), "{lines}");
    assert!(lines.contains("<- TARGET"), "{lines}");
}

#[test]
fn a_bundle_is_found_by_id_by_file_and_when_it_is_the_newest() {
    let (_lab, context, path) = stored();
    let name = path.file_name().unwrap().to_str().unwrap();
    for typed in [name.split_at(8).0, name.strip_suffix(".tar.zst").unwrap(), path.to_str().unwrap()] {
        assert!(which(typed).open(&context).is_ok(), "{typed}");
    }
    assert!(Which { bundle: None, allowed_signers: None }.open(&context).is_ok());
    for typed in ["ffffffff", "no such file", "/dev/null", "/"] {
        assert!(which(typed).open(&context).is_err(), "{typed}");
    }
}

fn extract_args(bundle: &str, output: PathBuf, artifacts: &[&str], force: bool) -> extract::ExtractArgs {
    let artifacts = artifacts.iter().map(|&pattern| pattern.to_owned()).collect();
    extract::ExtractArgs { which: which(bundle), artifacts, output, force }
}

#[test]
fn extract_writes_what_was_asked_for_and_never_over_or_through_anything() {
    let (lab, context, path) = stored();
    let typed = path.to_str().unwrap();
    let id = path.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.zst").unwrap().to_owned();
    let out = lab.path().join("out");
    let some = extract_args(typed, out.clone(), &["short", "history/*"], false);
    assert_eq!(extract::run(&some, &context).unwrap(), Exit::Done);
    assert_eq!(fs::read(out.join(&id).join("data/short")).unwrap().len(), 1000);
    assert_eq!(fs::read_dir(out.join(&id).join("data/history")).unwrap().count(), 2);
    assert!(!out.join(&id).join("capture.json").exists());
    let again = extract::run(&some, &context).unwrap_err();
    assert!(again.words.contains("File exists"), "{again}");
    let none = extract_args(typed, out, &["nothing*"], false);
    assert_eq!(extract::run(&none, &context).unwrap_err().exit, Exit::Failed);
    // A folder of the target is a link to elsewhere.
    let trap = lab.path().join("trap");
    fs::create_dir_all(trap.join(&id)).unwrap();
    fs::create_dir(lab.path().join("elsewhere")).unwrap();
    symlink(lab.path().join("elsewhere"), trap.join(&id).join("data")).unwrap();
    assert!(extract::run(&extract_args(typed, trap, &["short"], false), &context).is_err());
    assert_eq!(fs::read_dir(lab.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn exit_codes_are_those_of_the_design() {
    let (lab, mut context, path) = stored();
    let good = fs::read(&path).unwrap();
    let args = |path: &Path| verify::VerifyArgs { which: which(path.to_str().unwrap()) };
    let judge = |context: &Context, bytes: &[u8]| {
        let file = lab.path().join("judged");
        File::create(&file).unwrap().write_all(bytes).unwrap();
        verify::run(&args(&file), context).unwrap()
    };
    assert_eq!(judge(&context, &good), Exit::Done);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    assert_eq!(judge(&context, &flipped), Exit::Tampered);
    let refused =
        extract_args(lab.path().join("judged").to_str().unwrap(), lab.path().join("no"), &[], false);
    assert_eq!(extract::run(&refused, &context).unwrap_err().exit, Exit::Tampered);
    assert!(!lab.path().join("no").exists());
    assert_eq!(judge(&context, &good[..good.len() - 100]), Exit::Torn);
    let torn = extract_args(lab.path().join("judged").to_str().unwrap(), lab.path().join("torn"), &[], false);
    assert_eq!(extract::run(&torn, &context).unwrap(), Exit::Torn);
    assert_eq!(judge(&context, b"not a bundle"), Exit::Failed);
    context.config.paths.state = lab.path().join("another host");
    assert_eq!(judge(&context, &good), Exit::Untrusted);
    let file = lab.path().join("allowed");
    writeln!(File::create(&file).unwrap(), "{}", lab.key.allowed_signers_line().unwrap()).unwrap();
    let trusting = verify::VerifyArgs { which: Which { bundle: Some(path), allowed_signers: Some(file) } };
    assert_eq!(verify::run(&trusting, &context).unwrap(), Exit::Done);
}

fn verified(context: &Context, path: &Path) -> String {
    let which = which(path.to_str().unwrap());
    let report = which.open(context).unwrap().verify(&which.signers(context).unwrap()).unwrap();
    text(|out| verify::print("it", &report, out).unwrap())
}

#[test]
fn what_no_trusted_signature_covers_is_said_and_what_to_do() {
    let (lab, mut context, path) = stored();
    let good = fs::read(&path).unwrap();
    let cut = |length: usize| {
        let file = lab.path().join(format!("cut{length}"));
        fs::write(&file, good.get(..length).unwrap()).unwrap();
        file
    };
    // Without its end, which holds the signature; and with all but the end of the file.
    let (half, almost) = (cut(good.len() / 2), cut(good.len() - 1));
    let words = verified(&context, &half);
    assert!(words.starts_with("it: TORN: ") && words.contains("checksums only"), "{words}");
    let words = verified(&context, &almost);
    assert!(words.contains("trusted by the key of this host") && !words.contains("checksums"), "{words}");
    context.config.paths.state = lab.path().join("another host");
    for (file, head) in [(&path, "it: NOT TRUSTED: "), (&almost, "it: TORN, NOT TRUSTED: ")] {
        let words = verified(&context, file);
        assert!(words.starts_with(head), "{words}");
        assert!(words.contains("key public --allowed-signers` there"), "{words}");
    }
}

#[test]
fn of_a_torn_bundle_show_gives_json_as_well() {
    let (lab, context, path) = stored();
    let good = fs::read(&path).unwrap();
    let file = lab.path().join("cut");
    fs::write(&file, good.get(..good.len() / 2).unwrap()).unwrap();
    let which = which(file.to_str().unwrap());
    let contents = which.open(&context).unwrap().contents(&which.signers(&context).unwrap()).unwrap();
    let shown = show::json(&contents);
    assert!(
        shown["capture"].is_null() && shown["signature"].is_null() && shown["torn"].is_string(),
        "{shown}"
    );
    let intact = shown["intact"].as_array().unwrap();
    assert!(!intact.is_empty() && intact[0]["sha256"].is_string(), "{shown}");
}
