//! Any byte of a bundle changed, or its end cut off.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::bundle::frame::Frames;
use crate::bundle::members::{Members, read_tag};
use crate::bundle::verify::Verdict;

/// Every member's bytes, as far as the file can be read.
fn extract(bundle: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut members = Members::new(Frames::new(bundle, 0).unwrap());
    let mut found = BTreeMap::new();
    while let Ok(Some(member)) = members.next_member() {
        let Ok(bytes) = read_tag(&mut members, &member) else { break };
        found.insert(member.name, bytes);
    }
    found
}

#[test]
fn a_flip_of_any_byte_is_found_or_changes_nothing() {
    let lab = Lab::new();
    let bundle = fs::read(lab.bundle().0).unwrap();
    let original = extract(&bundle);
    assert_eq!(original.len(), 12);
    for at in 0..bundle.len() {
        for flip in [0x01, 0x10, 0xff] {
            let mut changed = bundle.clone();
            changed[at] ^= flip;
            let report = lab.verify(&changed);
            if matches!(report.verdict, Verdict::Good) {
                assert_eq!(extract(&changed), original, "byte {at} ^ {flip:#x} was not found");
            }
            // A changed byte is not a cut, wherever a whole frame or the trailer still shows it.
            if at < bundle.len() - crate::bundle::layout::TRAILER {
                assert_ne!(report.verdict, Verdict::Torn, "byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[test]
fn a_flip_is_found_by_everybodys_tools_too() {
    let lab = Lab::new();
    let bundle = fs::read(lab.bundle().0).unwrap();
    let original: BTreeMap<_, _> = extract(&bundle);
    let folder = lab.path().join("theirs");
    let file = lab.path().join("flipped.tar.zst");
    for at in (0..bundle.len()).step_by(bundle.len() / 60) {
        let mut changed = bundle.clone();
        changed[at] ^= 0x04;
        write(&file, &changed);
        fs::create_dir(&folder).unwrap();
        let script = "tar --zstd -xf ../flipped.tar.zst && cd -- * && sha256sum --strict -c tagmanifest-sha256.txt \
                      && sha256sum --strict -c manifest-sha256.txt";
        let output = Command::new("sh").args(["-c", script]).current_dir(&folder).output().unwrap();
        if output.status.success() {
            let inner = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
            for (name, bytes) in &original {
                // The signature's own bytes are ssh-keygen's to judge.
                if name != crate::bundle::layout::SIGNATURE {
                    assert_eq!(&fs::read(inner.join(name)).unwrap(), bytes, "byte {at}: {name}");
                }
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Where frames begin in the file, and how much content ends there.
fn frames(bundle: &[u8]) -> Vec<(usize, u64)> {
    let (mut at, mut content) = (0, 0);
    let mut frames = vec![(0, 0)];
    while bundle[at..at + 4] != [0x5a, 0x2a, 0x4d, 0x18] {
        let length = zstd::zstd_safe::find_frame_compressed_size(&bundle[at..]).unwrap();
        content += zstd::zstd_safe::get_frame_content_size(&bundle[at..]).unwrap().unwrap();
        at += length;
        frames.push((at, content));
    }
    frames
}

#[test]
fn a_cut_bundle_is_torn_and_names_what_is_wholly_there() {
    let (lab, job) = (Lab::new(), job());
    let mut bag = lab.bag(&job);
    fill(&mut bag);
    bag.put(&Name::data(&["zeros"]), &vec![0; 9 << 20]).unwrap();
    bag.put(&Name::data(&["last"]), b"last").unwrap();
    bag.finish().unwrap();
    let bundle = fs::read(lab.path().join(lab.seal(&job, Ended::Finished).file)).unwrap();
    let capture = lab.verify(&bundle).capture.unwrap();
    let table = frames(&bundle);
    assert!(table.len() >= 5, "{table:?}");
    let content_at = |frame: u64| table.iter().find(|(at, _)| long(*at) == frame).unwrap().1;
    let mut cuts: Vec<usize> = (0..bundle.len()).step_by(61).collect();
    cuts.extend(table.iter().flat_map(|&(at, _)| [at.saturating_sub(1), at, at + 1]));
    cuts.extend(bundle.len() - 30..bundle.len());
    for cut in cuts.into_iter().filter(|cut| *cut < bundle.len()) {
        let report = lab.verify(&bundle[..cut]);
        assert_eq!(report.verdict, Verdict::Torn, "cut at {cut}: {:?}", report.why);
        let available = table.iter().filter(|(at, _)| *at <= cut).map(|(_, content)| *content).max().unwrap();
        let expected: Vec<&str> = capture
            .artifacts
            .iter()
            .filter(|artifact| content_at(artifact.frame) + artifact.skip + artifact.size <= available)
            .map(|artifact| artifact.name.as_str())
            .collect();
        let intact: Vec<&str> = report.intact.iter().map(|intact| intact.name.as_str()).collect();
        assert_eq!(intact, expected, "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_at_all_make_the_verifier_fall(bytes: Vec<u8>, magic: bool) {
        let bytes = if magic { [&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat() } else { bytes };
        let report = verify(&bytes[..], &Signers::default(), Timestamp::now());
        prop_assert!(!matches!(report.verdict, Verdict::Good | Verdict::Untrusted));
    }

    #[test]
    fn any_content_in_good_frames_is_judged(
        mut content in proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'0'), any::<u8>()], 1..3000),
        header: bool,
    ) {
        if header {
            let mut whole = crate::bundle::layout::header(Uuid::nil(), "data/x", 5);
            whole.append(&mut content);
            content = whole;
        }
        let frame = crate::bundle::frame::Compressor::new().unwrap().frame(&content).unwrap();
        let bundle = [frame.clone(), crate::bundle::layout::trailer(long(frame.len()))].concat();
        prop_assert_eq!(verify(&bundle[..], &Signers::default(), Timestamp::now()).verdict, Verdict::Tampered);
    }

    #[test]
    fn a_bundle_changed_in_several_places_is_never_good(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..6),
    ) {
        let lab = Lab::new();
        let bundle = fs::read(lab.bundle().0).unwrap();
        let mut changed = bundle.clone();
        for (at, kind, byte) in edits {
            let at = at.index(changed.len());
            match kind {
                0 => changed[at] = byte,
                1 => changed.insert(at, byte),
                _ => drop(changed.remove(at)),
            }
        }
        let report = lab.verify(&changed);
        if report.verdict == Verdict::Good {
            prop_assert_eq!(extract(&changed), extract(&bundle));
        }
    }
}
