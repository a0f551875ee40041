//! What goes in comes out, for us and for the tools everybody has.

use std::fs;
use std::process::{Command, Stdio};

use super::*;
use crate::bundle::verify::Verdict;

#[test]
fn a_sealed_bag_is_good_and_says_what_it_holds() {
    let lab = Lab::new();
    let (path, sealed) = lab.bundle();
    let report = lab.verify(&fs::read(&path).unwrap());
    assert_eq!((report.verdict, &report.why), (Verdict::Good, &None));
    assert_eq!(report.intact.len(), 6);
    let capture = report.capture.unwrap();
    assert!(capture.complete && capture.incomplete.is_none());
    assert_eq!(capture.outcomes, [(Outcome::Ok, 1), (Outcome::Partial, 1)].into());
    assert_eq!(sealed.outcomes, capture.outcomes);
    assert_eq!(capture.artifacts[1].name.as_str(), "data/files/home/=FF evil=0A/a=5Cb");
    assert_eq!(capture.artifacts[1].original.as_ref().unwrap().0, b"data/files/home/\xff evil\n/a\\b");
    assert_eq!((capture.artifacts[4].read, capture.artifacts[4].size), (9, 1000));
    let names: Vec<_> = fs::read_dir(lab.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "only the keys and the bundle are left: {names:?}");
}

#[test]
fn tools_that_are_not_ours_agree() {
    let lab = Lab::new();
    let (path, sealed) = lab.bundle();
    let id = sealed.id.to_string();
    run(lab.path(), "tar", &["--zstd", "-xf", path.to_str().unwrap()], None);
    let bag = lab.path().join(&id);
    run(&bag, "sha256sum", &["--strict", "-c", "tagmanifest-sha256.txt"], None);
    run(&bag, "sha256sum", &["--strict", "-c", "manifest-sha256.txt"], None);
    write(&lab.path().join("allowed_signers"), (lab.key.allowed_signers_line().unwrap() + "\n").as_bytes());
    let principal = format!("afterimage@{MACHINE}");
    let signature = "tagmanifest-sha256.txt.sig";
    let arguments =
        ["-Y", "verify", "-f", "../allowed_signers", "-I", &principal, "-n", "afterimage", "-s", signature];
    run(&bag, "ssh-keygen", &arguments, Some(bag.join("tagmanifest-sha256.txt")));
    assert_eq!(fs::read(bag.join("data/noise")).unwrap(), noise(700));
    let long = format!("data/files/{}", "long/".repeat(60));
    assert_eq!(fs::read(bag.join(long.trim_end_matches('/'))).unwrap(), b"long name");
    assert_eq!(
        sealed.sha256,
        crate::text::hex(&<sha2::Sha256 as sha2::Digest>::digest(fs::read(path).unwrap()))
    );
}

#[test]
fn what_is_dropped_from_the_cache_is_on_the_disk() {
    let lab = Lab::new();
    let job = job();
    let mut bag = lab.bag(&job);
    bag.put(&Name::data(&["before"]), b"before").unwrap();
    bag.drop_behind();
    let large = noise(40 << 20);
    bag.put(&Name::data(&["large"]), &large).unwrap();
    bag.finish().unwrap();
    let sealed = lab.seal(&job, Ended::Finished);
    let report = lab.verify(&fs::read(lab.path().join(&sealed.file)).unwrap());
    assert_eq!((report.verdict, &report.why), (Verdict::Good, &None));
    assert_eq!(report.intact.len(), 2);
}

#[test]
fn a_large_member_spans_frames_and_is_found_by_its_offset() {
    let lab = Lab::new();
    let job = job();
    let mut bag = lab.bag(&job);
    bag.put(&Name::data(&["small"]), b"small").unwrap();
    let large = [noise(9 << 20), vec![0; 3 << 20]].concat();
    bag.put(&Name::data(&["large"]), &large).unwrap();
    bag.put(&Name::data(&["after"]), b"after").unwrap();
    bag.finish().unwrap();
    let sealed = lab.seal(&job, Ended::Finished);
    let bytes = fs::read(lab.path().join(&sealed.file)).unwrap();
    let report = lab.verify(&bytes);
    assert_eq!((report.verdict, &report.why), (Verdict::Good, &None));
    let capture = report.capture.unwrap();
    for (artifact, expected) in capture.artifacts.iter().zip([&b"small"[..], &large, b"after"]) {
        let from = &bytes[usize::try_from(artifact.frame).unwrap()..];
        let mut content = Vec::new();
        drop(std::io::Read::read_to_end(&mut zstd::Decoder::new(from).unwrap(), &mut content));
        let skip = usize::try_from(artifact.skip).unwrap();
        assert_eq!(&content[skip..skip + expected.len()], expected, "{}", artifact.name);
    }
}

#[test]
fn a_name_is_taken_once_and_is_not_another_names_folder() {
    let lab = Lab::new();
    let mut bag = lab.bag(&job());
    bag.put(&Name::data(&["a", "b"]), b"").unwrap();
    for name in [Name::data(&["a", "b"]), Name::data(&["a"]), Name::data(&["a", "b", "c"])] {
        assert!(matches!(bag.put(&name, b""), Err(crate::bundle::writer::Error::Twice(_))), "{name}");
    }
    assert!(bag.put(&Name::tag("capture.json"), b"").is_err());
    bag.put(&Name::data(&["a", "c"]), b"").unwrap();
}

fn run(folder: &Path, program: &str, arguments: &[&str], input: Option<PathBuf>) {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(input)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
}
