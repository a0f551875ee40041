use super::*;

#[test]
fn our_own_load_whole_and_every_group_is_known() {
    let mut names = BTreeSet::new();
    for (file, text) in OWN {
        let loaded = load(text.as_bytes());
        assert_eq!(loaded.refused, [], "{file}");
        for definition in &loaded.definitions {
            assert!(names.insert(definition.name.clone()), "{} is defined twice", definition.name);
        }
    }
    let library = Library::own();
    for group in ["triage", "web-server", "ssh", "persistence", "miner", "container", "cloud", "full"] {
        let chosen = library.choose(&[group]);
        assert!(chosen.definitions.len() > 2, "{group}");
        assert_eq!(chosen.unknown, BTreeSet::new(), "{group}");
    }
    let full: BTreeSet<&str> =
        library.choose(&["full"]).definitions.iter().map(|one| one.name.as_str()).collect();
    let all: BTreeSet<&str> = library.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(all.difference(&full).collect::<Vec<_>>(), Vec::<&&str>::new(), "`full` leaves something out");
}

#[test]
fn groups_in_a_circle_and_unknown_names_end_and_are_said() {
    let text = "name: A\ndoc: x\nsources: [{type: ARTIFACT_GROUP, attributes: {names: [B, C]}}]\n---\n\
        name: B\ndoc: x\nsources: [{type: ARTIFACT_GROUP, attributes: {names: [A, B]}}]\n";
    let mut library = Library::default();
    library.add(load(text.as_bytes()).definitions);
    let chosen = library.choose(&["B", "nothing"]);
    let names: Vec<&str> = chosen.definitions.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["B", "A"]);
    assert_eq!(chosen.unknown, ["C".to_owned(), "nothing".to_owned()].into());
}

#[test]
fn a_later_definition_takes_the_place_of_an_earlier_one() {
    let one = |path: &str| {
        load(
            format!("name: A\ndoc: x\nsources: [{{type: FILE, attributes: {{paths: ['{path}']}}}}]\n")
                .as_bytes(),
        )
        .definitions
    };
    let mut library = Library::default();
    library.add(one("/a"));
    library.add(one("/b"));
    assert_eq!(library.get("A"), one("/b").first());
}
