use std::os::unix::fs::PermissionsExt;

use super::*;

fn now() -> Timestamp {
    "2026-11-20T14:03:27Z".parse().unwrap()
}

fn wish(name: Option<&str>, sender: Option<&str>, signed: bool) -> Wish {
    Wish { name: name.map(str::to_owned), role: Role::Trigger, sender: sender.map(str::to_owned), signed }
}

#[test]
fn a_token_is_shown_once_and_kept_hashed_in_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("state/keys");
    let (token, shown) = edit(&keys, |secrets| secrets.add(wish(None, Some("falco"), false), now())).unwrap();
    assert_eq!(token.name, "falco-1");
    assert!(shown.starts_with("afi_") && shown.len() == 47, "{shown}");
    let file = keys.join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&shown));
    assert!(text.contains(&text::hex(&Sha256::digest(&shown))));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(load(&keys).unwrap().tokens, [token]);
}

#[test]
fn names_are_unique_and_revoking_frees_them() {
    let mut secrets = Secrets::default();
    secrets.add(wish(Some("a"), None, true), now()).unwrap();
    assert!(matches!(secrets.add(wish(Some("a"), None, true), now()), Err(Error::Taken(_))));
    let names: Vec<String> =
        (0..2).map(|_| secrets.add(wish(None, None, false), now()).unwrap().0.name).collect();
    assert_eq!(names, ["trigger-1", "trigger-2"]);
    secrets.revoke("a").unwrap();
    assert!(matches!(secrets.revoke("a"), Err(Error::Unknown(_))));
    for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(matches!(secrets.add(wish(Some(name), None, false), now()), Err(Error::Name(_))), "{name}");
    }
    while secrets.tokens.len() < 256 {
        secrets.add(wish(None, None, false), now()).unwrap();
    }
    assert!(matches!(secrets.add(wish(None, None, false), now()), Err(Error::Full)));
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(load(folder.path()).unwrap(), Secrets::default());
    let file = folder.path().join(FILE);
    for text in ["{", "[]", r#"{"tokens":[{"name":"a","role":"root"}]}"#] {
        std::fs::write(&file, text).unwrap();
        let error = edit(folder.path(), |secrets| secrets.add(wish(None, None, false), now())).unwrap_err();
        assert!(error.to_string().contains("tokens.json"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    std::fs::write(&file, vec![b' '; 2 << 20]).unwrap();
    assert!(matches!(load(folder.path()), Err(Error::TooLarge(_))));
}

#[test]
fn secrets_do_not_show_in_debug_texts() {
    let mut secrets = Secrets::default();
    let (_, shown) = secrets.add(wish(None, None, true), now()).unwrap();
    assert!(!format!("{secrets:?}").contains(&shown));
}

#[test]
fn changes_at_the_same_time_do_not_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                edit(folder.path(), |secrets| secrets.add(wish(None, None, false), now())).unwrap()
            });
        }
    });
    assert_eq!(load(folder.path()).unwrap().tokens.len(), 8);
}
