//! Bundles made by somebody who knows the format and means harm.

use std::fs;

use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::*;
use crate::bundle::Capture;
use crate::bundle::frame::Compressor;
use crate::bundle::layout::{self, FRAME_MAX};
use crate::bundle::tags;
use crate::bundle::verify::Verdict;
use crate::text;

const ID: &str = "0193aaaa-0000-7000-8000-000000000001";

/// Tag files by name.
type Files = Vec<(&'static str, Vec<u8>)>;
/// What a forger does to the manifest and to the payload.
type Change<'a> = &'a dyn Fn(&mut Capture, &mut Vec<u8>);
/// What is taken for a signature.
type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

fn id() -> Uuid {
    ID.parse().unwrap()
}

/// Frames of `content`, and a trailer that points to `tags`.
fn pack(content: &[u8], tags: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    let mut file = Vec::new();
    for part in content.chunks(FRAME_MAX) {
        file.extend(compressor.frame(part).unwrap());
    }
    let at = long(file.len());
    for part in tags.chunks(FRAME_MAX) {
        file.extend(compressor.frame(part).unwrap());
    }
    [file, layout::trailer(at)].concat()
}

fn member(name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = layout::header(id(), name, long(data.len()));
    content.extend(data);
    content.resize(content.len() + layout::padding(long(data.len())), 0);
    content
}

/// The verdict on a tar of this content with nothing else wrong with its frames.
fn judge(content: &[u8]) -> (Verdict, String) {
    let report = Lab::new().verify(&pack(&[content, &[0; 1024]].concat(), &[]));
    (report.verdict, report.why.unwrap_or_default())
}

/// A header of the tar crate, as any tool might write it.
fn foreign(path: &str, kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(layout::seconds(id()));
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn members_that_no_bundle_holds() {
    use tar::EntryType as Kind;
    let inside = format!("{ID}/data/x");
    for (kind, why) in [
        (Kind::Symlink, "a link"),
        (Kind::Link, "a hard link"),
        (Kind::Char, "a device"),
        (Kind::Block, "a device"),
        (Kind::Fifo, "a pipe"),
        (Kind::Directory, "a folder"),
        (Kind::GNUSparse, "sparse"),
        (Kind::XHeader, "a pax header"),
        (Kind::XGlobalHeader, "a pax header"),
        (Kind::GNULongLink, "a long link"),
        (Kind::Continuous, "odd"),
    ] {
        let (verdict, said) = judge(&foreign(&inside, kind, 0));
        assert_eq!(verdict, Verdict::Tampered, "{why}");
        assert!(said.ends_with("is not a regular file"), "{said}");
    }
    for path in [
        "/etc/passwd",
        "../x",
        "data/x",
        &format!("{ID}/../x"),
        &format!("{ID}/data/../x"),
        &format!("{ID}/data//x"),
        &format!("{ID}/data/\x1b[2J"),
        &format!("{ID}/other.txt"),
        &format!("{}/data/x", ID.to_uppercase()),
        &format!("./{ID}/data/x"),
    ] {
        let (verdict, said) = judge(&foreign(path, Kind::Regular, 0));
        assert_eq!(verdict, Verdict::Tampered, "{path}");
        assert!(said.contains("is not a name a bundle may hold"), "{said}");
        assert!(!said.contains('\x1b'), "{said}");
    }
}

#[test]
fn tars_that_no_bundle_is() {
    let good = member("data/x", b"hello");
    let mut odd_mode = foreign(&format!("{ID}/data/x"), tar::EntryType::Regular, 0);
    odd_mode[104] = b'7';
    let mut padded = good.clone();
    *padded.last_mut().unwrap() = 1;
    let mut long = foreign("././@LongLink", tar::EntryType::GNULongName, 1 << 40);
    long.extend([b'a'; 512]);
    let mut other = layout::header(Uuid::nil(), "data/y", 0);
    other.splice(..0, good.clone());
    let old_size = {
        let mut header = foreign(&format!("{ID}/data/x"), tar::EntryType::Regular, 0);
        header[124..136].copy_from_slice(b"zzzzzzzzzzz\0");
        header
    };
    for (content, expected) in [
        (odd_mode, "not canonical"),
        (padded, "not zero"),
        (long, "too long"),
        (other, "another bundle"),
        (old_size, "no size"),
        ([good.clone(), good.clone()].concat(), "there twice"),
        ([good.clone(), member("data/x/y", b"")].concat(), "folder"),
        ([member("data/x/y", b""), good.clone()].concat(), "folder"),
        (layout::header(id(), "data/x", 1 << 50), "within a member"),
        (vec![1; 512], "not a regular file"),
        (good.clone(), "tag files are missing"),
        ([&good[..], &[0; 512], &good].concat(), "not zero"),
        ([&good[..], &[0; 2048]].concat(), "follows"),
    ] {
        let (verdict, said) = judge(&content);
        assert_eq!(verdict, Verdict::Tampered, "{expected}");
        assert!(said.contains(expected), "{said} does not say {expected}");
    }
}

#[test]
fn frames_that_no_bundle_has() {
    let content = vec![7; 100_000];
    let plain = zstd::bulk::compress(&content, 3).unwrap();
    let streamed = zstd::encode_all(&content[..], 3).unwrap();
    let bomb = {
        let mut compressor = Compressor::new().unwrap();
        compressor.frame(&vec![0; 64 << 20]).unwrap()
    };
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
    let good = Compressor::new().unwrap().frame(&content).unwrap();
    // A single-segment frame that says it holds 2^60 bytes.
    let huge =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0xe4][..], &(1_u64 << 60).to_le_bytes(), &[1, 0, 0, 0, 0, 0, 0]].concat();
    // Raw blocks of nothing, without end.
    let endless = [&[0x28, 0xb5, 0x2f, 0xfd, 0x64, 0, 0][..], &vec![0; 6 << 20]].concat();
    for (file, why) in [
        (plain, "has no checksum"),
        (streamed, "has no checksum"),
        (bomb, "more than 4 MiB"),
        (huge, "more than 4 MiB"),
        (endless, "too long"),
        ([good.clone(), skippable].concat(), "does not begin like a frame"),
        ([good.clone(), b"rubbish".to_vec()].concat(), "does not begin like a frame"),
        ([pack(&member("data/x", b""), &[0; 1024]), b"more".to_vec()].concat(), "follows the trailer"),
    ] {
        let report = Lab::new().verify(&file);
        assert_eq!(report.verdict, Verdict::Tampered, "{why}: {:?}", report.why);
        let said = report.why.unwrap();
        let first = said.contains(why);
        // Content that is no tar may be found before the frame behind it.
        assert!(first || said.contains("regular file"), "{said} does not say {why}");
    }
    for file in [&b"PK\x03\x04 something else"[..], b"\x1f\x8b\x08\0"] {
        assert_eq!(Lab::new().verify(file).verdict, Verdict::Unreadable);
    }
}

/// A whole bundle of one artifact with its tag files as `change` leaves them, signed by `sign`.
fn forge(lab: &Lab, change: Change<'_>, late: &dyn Fn(&mut Files), sign: Sign<'_>) -> Report {
    let data = b"evidence";
    let mut content = member("data/x", data);
    let artifact = crate::bundle::Artifact {
        name: Name::data(&["x"]),
        original: None,
        size: 8,
        read: 8,
        sha256: text::hex(&Sha256::digest(data)),
        frame: 0,
        skip: 512,
    };
    let mut capture = capture(artifact);
    change(&mut capture, &mut content);
    let mut files = tags::files(&capture).unwrap();
    late(&mut files);
    let tagmanifest = files[4].1.clone();
    files.push((layout::SIGNATURE, sign(&tagmanifest)));
    lab.verify(&pack(&content, &tags::tar(id(), &files)))
}

fn capture(artifact: crate::bundle::Artifact) -> Capture {
    let job = job();
    Capture {
        frozen: Vec::new(),
        format: layout::FORMAT.to_owned(),
        id: id(),
        complete: true,
        incomplete: None,
        accepted: job.accepted,
        started: None,
        ended: None,
        sealed: job.accepted,
        trigger: job.trigger,
        targets: Vec::new(),
        profile: job.profile,
        limits: job.limits,
        facts: job.facts,
        outcomes: std::collections::BTreeMap::new(),
        attempts_dropped: 0,
        artifacts: vec![artifact],
        attempts: Vec::new(),
    }
}

#[test]
fn lists_that_do_not_fit_their_members() {
    let lab = Lab::new();
    let private = PrivateKey::from_openssh(fs::read(lab.path().join("keys/host_ed25519")).unwrap()).unwrap();
    // Whatever it is: our own key refuses what is no tag manifest.
    let sign = |bytes: &[u8]| {
        let signature = private.sign("afterimage", HashAlg::Sha512, bytes).unwrap();
        signature.to_pem(LineEnding::LF).unwrap().into_bytes()
    };
    let nothing = |_: &mut Capture, _: &mut Vec<u8>| {};
    let leave = |_: &mut Files| {};
    assert_eq!(forge(&lab, &nothing, &leave, &sign).verdict, Verdict::Good, "the forge itself is right");
    let changes: [(Change<'_>, &str); 7] = [
        (&|_, content| content.extend(member("data/extra", b"")), "not what manifest"),
        (&|_, content| *content = member("data/y", b"evidence"), "not what manifest"),
        (&|_, content| *content = member("data/x", b"EVIDENCE"), "not what manifest"),
        (
            &|capture, _| {
                let mut second = capture.artifacts[0].clone();
                second.name = Name::data(&["y"]);
                capture.artifacts.push(second);
            },
            "not there",
        ),
        (&|capture, _| capture.artifacts[0].skip = 0, "does not describe"),
        (&|capture, _| capture.artifacts[0].read = 9, "does not describe"),
        (&|capture, _| capture.id = Uuid::nil(), "another bundle"),
    ];
    for (change, expected) in changes {
        let report = forge(&lab, change, &leave, &sign);
        assert_eq!(report.verdict, Verdict::Tampered, "{expected}");
        let why = report.why.unwrap();
        assert!(why.contains(expected), "{why} does not say {expected}");
    }
    let lates: [&dyn Fn(&mut Files); 6] = [
        &|files| files[0].1.push(b' '),
        &|files| files[1].1.clear(),
        &|files| files[3].1.extend(b"Extra: yes\n"),
        &|files| files.swap(2, 3),
        &|files| drop(files.remove(2)),
        &|files| files[4].1.extend_from_within(..),
    ];
    for (number, late) in lates.into_iter().enumerate() {
        let late = |files: &mut Files| {
            late(files);
            files.resize(5, (layout::TAGMANIFEST, Vec::new()));
        };
        assert_eq!(forge(&lab, &nothing, &late, &sign).verdict, Verdict::Tampered, "{number}");
    }
}

#[test]
fn signatures_that_do_not_count() {
    let (lab, stranger) = (Lab::new(), Lab::new());
    let nothing = |_: &mut Capture, _: &mut Vec<u8>| {};
    let leave = |_: &mut Files| {};
    let private = fs::read(lab.path().join("keys/host_ed25519")).unwrap();
    let private = PrivateKey::from_openssh(private).unwrap();
    let with = |namespace: &str, hash: HashAlg, bytes: &[u8]| {
        private.sign(namespace, hash, bytes).unwrap().to_pem(LineEnding::LF).unwrap().into_bytes()
    };
    let cases: [(Sign<'_>, Verdict, &str); 8] = [
        (&|bytes| stranger.key.sign(bytes).unwrap().into_bytes(), Verdict::Untrusted, "is not trusted"),
        (&|_| Vec::new(), Verdict::Tampered, "not signed"),
        (&|_| b"-----BEGIN SSH SIGNATURE-----\n".to_vec(), Verdict::Tampered, "not a signature"),
        (&|_| vec![0; 1000], Verdict::Tampered, "not a signature"),
        (&|bytes| with("git", HashAlg::Sha512, bytes), Verdict::Tampered, "signature is wrong"),
        (&|bytes| with("afterimage", HashAlg::Sha256, bytes), Verdict::Tampered, "another kind"),
        (
            &|_| with("afterimage", HashAlg::Sha512, b"something else"),
            Verdict::Tampered,
            "signature is wrong",
        ),
        (
            &|bytes| [with("afterimage", HashAlg::Sha512, bytes), b"\n".to_vec()].concat(),
            Verdict::Tampered,
            "",
        ),
    ];
    for (sign, verdict, expected) in cases {
        let report = forge(&lab, &nothing, &leave, sign);
        assert_eq!(report.verdict, verdict, "{expected}: {:?}", report.why);
        assert!(
            report.why.as_deref().unwrap().contains(expected),
            "{:?} does not say {expected}",
            report.why
        );
    }
    // A trusted key that signs for another machine.
    let other = |capture: &mut Capture, _: &mut Vec<u8>| capture.facts.machine_id = "f".repeat(32);
    let report = forge(&lab, &other, &leave, &|bytes| lab.key.sign(bytes).unwrap().into_bytes());
    assert_eq!(report.verdict, Verdict::Untrusted, "{:?}", report.why);
}
