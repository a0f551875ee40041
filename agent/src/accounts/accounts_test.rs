use proptest::prelude::*;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n\
w:x:1001:1001:W,,,:/home/w:/bin/bash\n\
toor:x:0:0::/root:/bin/sh\n\
backup:x:34:34::/var/backups:/bin/sh\n\
open::1002:1002::/home/open:\n\
old:$1$salt$hash:1003:1001::/home/old:/bin/sh\n\
ghost:x:1004:1004::/:/bin/sh\n\
again:x:1001:1001::/home/w:/bin/sh\n\
broken:x:1005\n\
worse:x:-1:0::/:/bin/sh\n\
\n";
const SHADOW: &[u8] = b"root:$y$j9T$abc$def:20000:0:99999:7:::\n\
daemon:*:19000:0:99999:7:::\n\
w:!$6$abc$def:20100:0:99999:7::20500:\n\
toor:$6$a$b:20400:0:99999:7:::\n\
backup:$6$a$b:20401:0:99999:7:::\n\
again:!:1::::::\n";
const GROUP: &[u8] = b"root:x:0:\nsudo:x:27:w,old\ndocker:x:998:w\nw:x:1001:\nbad\n";

fn all() -> Vec<Account> {
    accounts(PASSWD, Some(SHADOW), &groups(GROUP))
}

fn one(name: &str) -> Account {
    all().into_iter().find(|account| account.name.as_slice() == name.as_bytes()).unwrap()
}

#[test]
fn what_passwd_shadow_and_group_say_is_joined() {
    let w = one("w");
    let groups: Vec<String> = w.groups.iter().map(ToString::to_string).collect();
    assert_eq!((w.line, w.uid, w.gid, groups.join(" ")), (3, 1001, 1001, "w sudo docker".to_owned()));
    assert_eq!(
        w.password,
        Password {
            state: State::Locked,
            scheme: Some("SHA-512"),
            changed: Some(20100),
            expires: Some(20500)
        }
    );
    assert_eq!(w.reasons, [""; 0]);
    assert_eq!((one("root").password.scheme, one("root").password.expires), (Some("yescrypt"), None));
    assert_eq!(one("daemon").password.state, State::None);
    assert_eq!(all().len(), 9, "what is broken is left out");
}

#[test]
fn what_is_odd_is_said() {
    let cases: [(&str, &[&str]); 8] = [
        ("root", &[]),
        ("daemon", &[]),
        ("toor", &["has the rights of root under another name"]),
        ("backup", &["a system account with a password and a shell"]),
        ("open", &["needs no password"]),
        (
            "old",
            &["its password's hash is in passwd, which everybody may read", "its password's hash is weak"],
        ),
        ("ghost", &["has no line in shadow"]),
        ("again", &["has the uid of w"]),
    ];
    for (name, reasons) in cases {
        assert_eq!(one(name).reasons, reasons, "{name}");
    }
}

#[test]
fn without_shadow_nothing_is_said_of_passwords() {
    let all = accounts(PASSWD, None, &[]);
    assert_eq!((all[0].password.state, all[0].reasons.len()), (State::Unknown, 0));
}

#[test]
fn no_hash_comes_out() {
    let told = format!("{:?}", all());
    for secret in ["$6$", "$y$", "$1$", "def", "salt"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAwZocVjj3hu0JXKemVnVOAx9nvNX8+XOI/Ve0+HIiRT";

#[test]
fn keys_have_the_fingerprints_of_ssh_keygen() {
    let options = "command=\"echo \\\"a b\\\"\",no-pty";
    let text = format!(
        "# none\n{KEY} w@victim x\n  {options} {KEY}\nssh-rsa {}\nssh-ed25519 AAAA\n\nx\n",
        KEY.trim_start_matches("ssh-ed25519 ")
    );
    let keys = keys(text.as_bytes());
    let told: Vec<_> = keys
        .iter()
        .map(|key| (key.line, key.options.to_string(), key.kind.to_string(), key.comment.to_string()))
        .collect();
    assert_eq!(
        told,
        [
            (2, String::new(), "ssh-ed25519".to_owned(), "w@victim x".to_owned()),
            (3, options.replace('\\', "\\\\"), "ssh-ed25519".to_owned(), String::new()),
        ]
    );
    assert!(keys.iter().all(|key| key.fingerprint == "SHA256:Gz/b7AVKr2nTFxFiFQi6iC+huDFnkS5m5kz2A1z9fSo"));
}

proptest! {
    #[test]
    fn any_bytes_are_read(
        passwd in "([a-z:$0-9x\\n]|root|:x:0:0){0,80}",
        shadow: Vec<u8>,
        group: Vec<u8>,
    ) {
        accounts(passwd.as_bytes(), Some(&shadow), &groups(&group));
        accounts(&shadow, Some(passwd.as_bytes()), &groups(passwd.as_bytes()));
        keys(&group);
    }

    #[test]
    fn any_line_after_a_kind_is_read(rest: Vec<u8>) {
        keys(&[b"ssh-ed25519 ", rest.as_slice()].concat());
        keys(&[b"command=\"", rest.as_slice(), b"\" ssh-ed25519 AAAA"].concat());
    }
}
