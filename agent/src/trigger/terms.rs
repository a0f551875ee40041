//! What a trigger says of a process, as words that the history's indexes know. Pure.

use super::Target;
use crate::history::index::Term;
use crate::text::Bytes;

/// The words that a process which is meant may have left in an index; more of them in one frame are better.
pub fn terms(target: &Target) -> Vec<Term> {
    let slice = |bytes: &Option<Bytes>| bytes.clone().map(|bytes| bytes.0);
    let mut terms = Vec::new();
    if let Some(exe) = slice(&target.exe) {
        terms.push(Term::name(exe.trim_ascii().strip_suffix(b" (deleted)").unwrap_or(&exe)));
    }
    if let Some(line) = slice(&target.cmdline) {
        terms.push(Term::command(line.trim_ascii()));
    }
    if let Some(name) = slice(&target.process_name) {
        terms.extend([Term::short(&name), Term::name(&name)]);
    }
    terms.extend(target.container_id.as_deref().and_then(Term::container));
    terms.extend(target.remote_ip.map(Term::remote));
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_says_nothing_has_no_words_and_each_hint_has_its_own() {
        assert!(terms(&Target::default()).is_empty());
        let target = Target {
            exe: Some(Bytes::from("/tmp/x (deleted)")),
            cmdline: Some(Bytes::from("/usr/bin/sh -c id")),
            process_name: Some(Bytes::from("sh")),
            container_id: Some("7f3a9c1e5b2d77".to_owned()),
            remote_ip: Some("192.0.2.1".parse().unwrap()),
            ..Target::default()
        };
        let found = terms(&target);
        let names = [Term::name(b"x"), Term::name(b"sh"), Term::remote("192.0.2.1".parse().unwrap())];
        assert!(names.iter().all(|name| found.contains(name)));
        assert_eq!(found.len(), 4);
    }
}
