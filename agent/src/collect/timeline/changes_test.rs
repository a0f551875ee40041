use std::collections::HashSet;

use super::*;
use crate::collect::system::statx;
use crate::event::call::{Call, What};
use crate::event::{Action, BootId, Event, ProcessId, Source};

fn changes() -> Changes {
    let scene = Scene { trigger: 10_000_000, packaged: None };
    let target = ProcessId { boot: BootId([1; 16]), pid: 9, start: 1 };
    let mut deeds = Deeds::new(HashSet::from([target]));
    for (pid, path) in [(9, "/srv/app/x"), (7, "/srv/other/gone")] {
        let call = Call {
            what: What::Chmod,
            path: Bytes::from(path),
            target: Bytes::default(),
            number: None,
            compat: false,
        };
        let time = "2026-11-20T13:00:00Z".parse().unwrap();
        let process = ProcessId { pid, ..target };
        deeds.apply(&Event { time, source: Source::Agent, process, action: Action::Call(Box::new(call)) });
    }
    let accounts = Accounts::parse(b"www-data:x:33:33::/var/www:/usr/sbin/nologin\n");
    Changes::new(deeds, scene, accounts, 9_000_000, b"/var/lib/afterimage/".to_vec())
}

fn file(mode: u32, changed: i64, born: i64) -> Attributes {
    let times = [None, Some((changed, 0)), Some((changed, 0)), Some((born, 0))];
    Attributes { mode, times, uid: 33, ..statx(std::fs::File::open("/").unwrap(), c"").unwrap() }
}

fn told(changes: &Changes) -> Vec<serde_json::Value> {
    let (lines, _) = changes.lines().unwrap();
    lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[test]
fn what_a_target_did_comes_first_and_what_is_old_or_our_own_is_not_told() {
    let mut changes = changes();
    let new = file(0o100_755, 9_999_000, 9_999_000);
    changes.see(b"/srv/app/beside", &new);
    changes.see(b"/srv/app/x", &new);
    changes.see(b"/srv/plain", &file(0o100_644, 9_500_000, 1));
    changes.see(b"/srv/old", &file(0o100_755, 8_000_000, 8_000_000));
    changes.see(b"/var/lib/afterimage/history/x", &new);
    // Its time says no more than that of the file in it; a new one is news.
    changes.see(b"/srv", &file(0o040_755, 9_999_000, 1));
    changes.see(b"/srv/new", &file(0o040_755, 9_999_000, 9_999_000));
    changes.rest(&|_| None);
    let all = told(&changes);
    let paths: Vec<&str> = all.iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/srv/app/x", "/srv/app/beside", "/srv/other/gone", "/srv/new", "/srv/plain"]);
    let whys: Vec<&str> =
        all[0]["reasons"].as_array().unwrap().iter().map(|why| why["why"].as_str().unwrap()).collect();
    assert_eq!(whys[0], "done by a target or what descends from it");
    assert!(
        whys.contains(&"executable") && whys.contains(&"owned by an account that services run as"),
        "{whys:?}"
    );
    assert_eq!((&all[0]["exists"], &all[2]["exists"]), (&true.into(), &false.into()));
    assert_eq!(all[0]["deeds"][0]["what"], "made executable");
    let sum: i64 =
        all[0]["reasons"].as_array().unwrap().iter().map(|why| why["weight"].as_i64().unwrap()).sum();
    assert_eq!(all[0]["score"], sum);
}

#[test]
fn of_too_many_the_least_are_left_out_and_counted() {
    let mut changes = changes();
    changes.see(b"/tmp/.x", &file(0o100_755, 9_999_999, 9_999_999));
    for number in 0..CHANGES_MAX + 10 {
        changes.see(format!("/srv/many/{number}").as_bytes(), &file(0o100_644, 9_500_000, 1));
    }
    changes.see(b"/tmp/.y", &file(0o100_755, 9_999_999, 9_999_999));
    let all = told(&changes);
    assert_eq!(all.len(), CHANGES_MAX);
    assert_eq!((&all[0]["path"], &all[1]["path"]), (&"/tmp/.y".into(), &"/tmp/.x".into()));
    assert_eq!(changes.lines().unwrap().1, ["12 changes of less weight"]);
}
