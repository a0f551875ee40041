use proptest::prelude::*;

use super::*;

const GOOD: &str = "\
# A comment alone is no document.
---
name: CronTables
aliases: [Cron]
doc: |
  Tables of cron.
sources:
- type: FILE
  attributes: {paths: ['/etc/crontab', '%%users.homedir%%/.x/*', '%%environ_systemroot%%/y']}
- type: PATH
  attributes: {paths: ['C:\\x'], separator: '\\'}
  supported_os: [Windows]
supported_os: [Linux, Windows]
urls: ['https://example.org']
---
name: Group
doc: More than one.
sources:
- type: ARTIFACT_GROUP
  attributes: {names: [CronTables]}
- type: COMMAND
  attributes: {cmd: /bin/ls, args: ['-l']}
- type: REGISTRY_KEY
  attributes: {keys: ['HKEY']}
---
name: Mac
doc: Elsewhere.
sources:
- type: FILE
  attributes: {paths: ['no/matter/what']}
supported_os: [Darwin]
";

#[test]
fn definitions_are_read_and_what_linux_has_not_is_left_out() {
    let loaded = load(GOOD.as_bytes());
    assert_eq!((loaded.refused.as_slice(), loaded.documents), ([].as_slice(), 3));
    let [cron, group, mac] = loaded.definitions.as_slice() else { panic!("{loaded:#?}") };
    let [Source::Files(patterns)] = cron.sources.as_slice() else { panic!("{cron:#?}") };
    assert_eq!((patterns.len(), cron.aliases.as_slice()), (2, ["Cron".to_owned()].as_slice()));
    let sources = [Source::Group(vec!["CronTables".to_owned()]), Source::Command("/bin/ls -l".to_owned())];
    assert_eq!(group.sources, sources);
    assert!(mac.sources.is_empty());
}

#[test]
fn one_that_is_malformed_is_refused_with_its_line_and_the_others_are_used() {
    let source = "sources:\n- type: FILE\n  attributes: {paths: ['/x']}\n";
    for (bad, line, reason) in [
        ("name: x\ndoc: \"never closed\n", 7, "quoted scalar"),
        ("doc: no name\nsources: []\n", 5, "missing field `name`"),
        (&format!("name: A\ndoc: x\n{source}colour: red\n"), 10, "unknown field `colour`"),
        (&format!("name: A\ndoc: x\n{source}supported_os: [Plan9]\n"), 5, "`Plan9` is not a system"),
        ("name: A\ndoc: x\nsources: []\n", 5, "A has no sources"),
        (&format!("name: two words\ndoc: x\n{source}"), 5, "it is one word"),
        ("name: A\ndoc: x\nsources:\n- type: FILE\n  attributes: {paths: []}\n", 5, "needs paths"),
        ("name: A\ndoc: x\nsources:\n- type: SPELL\n", 5, "`SPELL` is not a type"),
        (
            "name: A\ndoc: x\nsources:\n- type: FILE\n  attributes: {paths: [x]}\n",
            5,
            "does not begin with `/`",
        ),
        ("name: A\ndoc: x\nsources:\n- type: FILE\n  attributes: {paths: ['/../x']}\n", 5, "`..` in it"),
        ("name: A\ndoc: x\nsources:\n- type: ARTIFACT_GROUP\n", 5, "needs names"),
        ("name: A\ndoc: x\nsources:\n- type: COMMAND\n", 5, "needs cmd"),
        ("- a list\n", 5, "invalid type"),
        ("\u{7}\n", 5, "control characters"),
    ] {
        let text = format!(
            "name: Before\ndoc: x\nsources: [{{type: PATH, attributes: {{paths: ['/']}}}}]\n---\n{bad}---\nname: After\ndoc: x\n{source}"
        );
        let loaded = load(text.as_bytes());
        let names: Vec<&str> = loaded.definitions.iter().map(|definition| definition.name.as_str()).collect();
        assert_eq!(names, ["Before", "After"], "{bad}: {loaded:#?}");
        let [refused] = loaded.refused.as_slice() else { panic!("{bad}: {loaded:#?}") };
        assert!(refused.reason.contains(reason), "{bad}: {refused:?}");
        assert!((5..=line).contains(&refused.line), "{bad}: {refused:?}");
    }
}

#[test]
fn a_list_without_a_space_before_it_is_read_as_the_formats_own_reader_does() {
    let text = "name: A\ndoc: x\nsources:\n- type: FILE\n  attributes: {paths:['/x']}\n";
    assert_eq!(load(text.as_bytes()).refused, []);
}

#[test]
fn a_bomb_of_aliases_and_an_endless_document_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let last = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [last.as_str(); 9].join(", ")));
    }
    let deep = format!("name: {}", "[".repeat(100_000));
    let long = format!("name: {}", "x".repeat(DOCUMENT_MAX + 1));
    for text in [bomb, deep, long] {
        let loaded = load(text.as_bytes());
        assert_eq!((loaded.definitions.len(), loaded.refused.len()), (0, 1));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text: Vec<u8>) {
        load(&text);
    }

    #[test]
    fn any_damage_to_a_good_file_is_survived(at in 0..GOOD.len(), byte: u8) {
        let mut text = GOOD.as_bytes().to_vec();
        text[at] = byte;
        let loaded = load(&text);
        prop_assert!(loaded.definitions.len() + loaded.refused.len() == loaded.documents);
    }
}
