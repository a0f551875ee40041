use std::path::Path;

use super::super::testing::{self, Taken};
use crate::bundle::Outcome;
use crate::plan::Step;

fn take(root: &Path) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Persistence])
}

#[test]
fn credentials_are_told_by_name_and_hash_and_never_copied() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("etc/passwd", "w:x:1000:1000::/home/w:/bin/sh\n");
    put("home/w/.aws/credentials", "the secret itself");
    put("root/.ssh/id_ed25519", "the secret itself");
    put("root/.ssh/id_ed25519.pub", "public");
    put("root/.kube/config", "another");
    put("home/w/.aws/config", "no secret");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("home/w/.netrc")).unwrap();
    let taken = take(folder.path());
    let text = String::from_utf8(taken.members["credentials.jsonl"].clone()).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |path: &str| rows.iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("{path}: {text}"));
    let hash = "0bf3c7d72e589773bb9ec52b3ec019dd49a9d294fe099d05cd441501b83d3271";
    assert_eq!(of("/home/w/.aws/credentials")["sha256"], hash);
    assert_eq!(of("/home/w/.aws/credentials")["sha256"], of("/root/.ssh/id_ed25519")["sha256"]);
    assert_ne!(of("/root/.kube/config")["sha256"], of("/root/.ssh/id_ed25519")["sha256"]);
    assert_eq!(
        (of("/root/.kube/config")["size"].as_u64(), &of("/root/.kube/config")["artifact"]),
        (Some(7), &"CloudCredentials".into())
    );
    assert!(!text.contains(".pub") && !text.contains("/.aws/config\""), "{text}");
    for (name, bytes) in &taken.members {
        assert!(!bytes.windows(10).any(|part| part == b"the secret"), "{name}");
    }
    assert_eq!(taken.outcome("table of credentials").0, Outcome::Ok);
}

#[test]
fn one_that_is_too_large_has_no_hash() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("root/.aws")).unwrap();
    let file = std::fs::File::create(folder.path().join("root/.aws/credentials")).unwrap();
    file.set_len(1 << 30).unwrap();
    let taken = take(folder.path());
    let row: serde_json::Value = serde_json::from_slice(&taken.members["credentials.jsonl"]).unwrap();
    assert_eq!(row["not_hashed"], format!("more than {} bytes", super::HASHED_MAX));
    assert!(row.get("sha256").is_none());
}
