use std::path::Path;

use serde_json::Value;

use super::super::testing::{self, Taken};
use crate::bundle::Outcome;
use crate::plan::Step;

fn take(files: &[(&str, &str)], whole: bool) -> Taken {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    take_below(folder.path(), whole)
}

fn take_below(root: &Path, whole: bool) -> Taken {
    let mut job = testing::job();
    job.places.root = root.to_owned();
    job.facts.initial_pid_namespace = whole;
    testing::take(&job, &testing::tree(&[]), &[], &[Step::Persistence])
}

fn identity(taken: &Taken) -> Value {
    serde_json::from_slice(&taken.members["cloud/identity.json"]).unwrap()
}

#[test]
fn the_firmware_and_cloud_init_say_which_instance_this_is() {
    let taken = take(
        &[
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
            ("sys/class/dmi/id/board_asset_tag", "i-0123456789abcdef0\n"),
            ("run/cloud-init/cloud-id", "aws\n"),
            (
                "run/cloud-init/instance-data.json",
                r#"{"v1":{"region":"eu-central-1","x":1},"ds":{"secret":"no"}}"#,
            ),
        ],
        true,
    );
    let found = identity(&taken);
    assert_eq!((&found["cloud"], &found["instance_id"]), (&"aws".into(), &"i-0123456789abcdef0".into()));
    assert_eq!(found["cloud_init"]["region"], "eu-central-1");
    assert!(!found.to_string().contains("secret"));
    assert_eq!(taken.outcome("identity of the instance"), (Outcome::Ok, "aws"));
}

#[test]
fn what_is_the_machines_is_refused_and_what_cloud_init_wrote_is_told() {
    let files = [
        ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
        ("var/lib/cloud/data/instance-id", "ocid1.instance\n"),
    ];
    let taken = take(&files, false);
    assert_eq!(taken.outcome("identity of the instance").0, Outcome::Partial);
    let found = identity(&taken);
    assert_eq!((&found["cloud"], &found["instance_id"]), (&Value::Null, &"ocid1.instance".into()));
}

#[test]
fn what_is_broken_is_not_believed() {
    for json in ["", "[]", "{\"v1\":7}", "{\"v1\":{\"region\":{}}}", "\u{0}"] {
        let files =
            [("run/cloud-init/instance-data.json", json), ("sys/class/dmi/id/sys_vendor", "Some Vendor\n")];
        let found = identity(&take(&files, true));
        assert_eq!((&found["cloud"], &found["cloud_init"]), (&Value::Null, &serde_json::json!({})), "{json}");
    }
}

#[test]
fn a_machine_that_says_nothing_is_no_attempt() {
    let taken = take(&[], true);
    assert!(!taken.attempts.iter().any(|attempt| attempt.subject == "identity of the instance"));
}
