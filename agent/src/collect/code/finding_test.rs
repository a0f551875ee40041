use super::*;

fn judged(kind: Kind) -> Judged<'static> {
    Judged { kind, write: false, changed: false, comparison: None, first: b"", compiler: false }
}

#[test]
fn ordinary_mappings_are_no_findings() {
    for kind in [Kind::File, Kind::Vdso, Kind::Kernel] {
        assert_eq!(reasons(&judged(kind)), [], "{kind:?}");
    }
}

#[test]
fn code_without_a_file_is_one_unless_a_compiler_made_it() {
    for (kind, expected) in [
        (Kind::Anonymous, What::AnonymousExecutable),
        (Kind::SharedMemory, What::SharedMemoryExecutable),
        (Kind::Memfd, What::MemfdExecutable),
    ] {
        assert_eq!(reasons(&judged(kind)), [expected]);
        let compiled = Judged { compiler: true, write: true, changed: true, ..judged(kind) };
        assert_eq!(reasons(&compiled), [], "{kind:?}");
    }
    for (kind, expected) in [
        (Kind::Stack, What::StackExecutable),
        (Kind::Heap, What::HeapExecutable),
        (Kind::DeletedFile, What::DeletedExecutable),
    ] {
        assert_eq!(reasons(&Judged { compiler: true, ..judged(kind) }), [expected], "no compiler does that");
    }
}

#[test]
fn a_whole_program_in_memory_is_one_also_under_a_compiler() {
    let program = Judged { first: b"\x7fELF\x02", compiler: true, ..judged(Kind::Anonymous) };
    assert_eq!(reasons(&program), [What::ElfWithoutFile]);
    assert_eq!(reasons(&Judged { first: b"\x7fELF\x02", ..judged(Kind::File) }), []);
}

#[test]
fn memory_that_can_be_written_and_executed_is_one_wherever() {
    for kind in [Kind::File, Kind::Vdso] {
        let writable = Judged { write: true, compiler: true, ..judged(kind) };
        assert_eq!(reasons(&writable), [What::WritableAndExecutable], "{kind:?}");
    }
}

#[test]
fn changed_text_is_one_when_it_differs_or_when_that_is_not_known() {
    let mut different = Comparison::new(5);
    different.add(0x1000, 0, b"\xcc", b"\x90");
    different.close();
    let (mut same, mut unread) = (Comparison::new(5), Comparison::new(5));
    same.add(0x1000, 0, b"same", b"same");
    unread.unread = 4096;
    for (kind, comparison, expected) in [
        (Kind::File, Some(&different), &[What::TextChanged][..]),
        (Kind::File, Some(&same), &[]),
        (Kind::File, Some(&unread), &[What::ChangedNotCompared]),
        (Kind::File, None, &[What::ChangedNotCompared]),
        (Kind::Vdso, Some(&different), &[What::VdsoChanged]),
        (Kind::Vdso, Some(&same), &[]),
        (Kind::Vdso, None, &[What::ChangedNotCompared]),
    ] {
        let one = Judged { changed: true, comparison, compiler: true, ..judged(kind) };
        assert_eq!(reasons(&one), expected, "{kind:?} {comparison:?}");
    }
}

#[test]
fn one_process_does_not_hide_the_findings_of_another() {
    let finding = |process: &str| Finding {
        process: process.to_owned(),
        executable: "/x".into(),
        start: 0x1000,
        end: 0x2000,
        permissions: "rwxp".to_owned(),
        kind: Kind::Anonymous,
        path: "".into(),
        reasons: vec![What::AnonymousExecutable.into()],
        artifact: None,
        first: String::new(),
        present: 0,
        text: None,
    };
    let mut findings = Findings::default();
    for process in ["1-1", "2-2"] {
        for _ in 0..OF_ONE_MAX + 7 {
            findings.add(finding(process));
        }
    }
    assert_eq!((findings.all.len(), findings.dropped), (2 * OF_ONE_MAX, 14));
    assert_eq!(findings.all.last().unwrap().process, "2-2");
}

#[test]
fn every_reason_says_what_it_means_and_what_else_can_cause_it() {
    let reason = serde_json::to_value(Reason::from(What::TextChanged)).unwrap();
    assert_eq!(reason["what"], "text_changed");
    assert!(reason["benign_causes"].as_str().unwrap().contains("uprobes"));
}
