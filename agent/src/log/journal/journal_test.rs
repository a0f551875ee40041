use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::pages::ReadAt;
use super::*;

const REGULAR: (&[u8], &[u8]) =
    (include_bytes!("fixtures/regular.journal.zst"), include_bytes!("fixtures/regular.json.zst"));
const COMPACT: (&[u8], &[u8]) =
    (include_bytes!("fixtures/compact.journal.zst"), include_bytes!("fixtures/compact.json.zst"));

/// The file without the zeros that it ends with, which are room for more.
fn file(fixture: (&[u8], &[u8])) -> Vec<u8> {
    let mut bytes = zstd::decode_all(fixture.0).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    bytes.truncate(used.next_multiple_of(8));
    bytes
}

fn pages(bytes: &[u8]) -> Pages<'_> {
    let read: ReadAt<'_> = Box::new(move |room, at| {
        let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let count = rest.len().min(room.len()).min(1000);
        room[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    });
    Pages::new(read, u64::try_from(bytes.len()).unwrap())
}

fn journal(bytes: &[u8]) -> Result<Journal<'_>, Malformed> {
    Journal::open(pages(bytes))
}

/// All of a journal, as `journalctl -o json` says it, without its cursor.
fn told(bytes: &[u8]) -> Vec<Json> {
    let mut journal = journal(bytes).unwrap();
    let (entries, failure) = journal.entries();
    assert!(failure.is_none(), "{failure:?}");
    entries
        .into_iter()
        .map(|at| {
            let head = journal.head(at).unwrap();
            let (fields, broken) = journal.fields(at, &head);
            assert_eq!(broken, 0);
            let mut line = json!({
                "__REALTIME_TIMESTAMP": head.realtime.to_string(),
                "__MONOTONIC_TIMESTAMP": head.monotonic.to_string(),
            });
            for Field { name, value } in fields {
                let Value::Whole(value) = value else { panic!("{name} is {value:?}") };
                let value = match std::str::from_utf8(value.as_slice()) {
                    Ok(text) if !text.contains('\0') => json!(text),
                    _ => json!(value.as_slice()),
                };
                match &mut line[name.to_string()] {
                    Json::Null => line[name.to_string()] = value,
                    Json::Array(all) => all.push(value),
                    one => *one = json!([one.clone(), value]),
                }
            }
            line
        })
        .collect()
}

#[test]
fn what_journalctl_says_is_what_is_read() {
    for fixture in [REGULAR, COMPACT] {
        let said = String::from_utf8(zstd::decode_all(fixture.1).unwrap()).unwrap();
        let mut said: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut said {
            let cursor = line.as_object_mut().unwrap().remove("__CURSOR").unwrap();
            assert!(cursor.as_str().unwrap().starts_with("s="));
        }
        assert_eq!(said.len(), 40);
        assert_eq!(told(&file(fixture)), said);
    }
}

#[test]
fn a_header_counts_what_there_is() {
    let file = file(COMPACT);
    let mut journal = journal(&file).unwrap();
    let Header { entries, first, last, online, .. } = journal.header.clone();
    assert_eq!((entries, first, last, online), (40, 1, 40, false));
    let numbers: Vec<u64> = journal.entries().0.iter().map(|at| journal.head(*at).unwrap().seqnum).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
}

#[test]
fn entries_that_came_after_the_header_was_read_are_not_looked_at() {
    let mut bytes = file(REGULAR);
    bytes[152..160].copy_from_slice(&13_u64.to_le_bytes());
    assert_eq!(told(&bytes).len(), 13);
}

#[test]
fn what_is_no_journal_is_told_so() {
    for bytes in [&b""[..], b"LPKSHHRH", &[0; 4096], b"SQLite format 3"] {
        assert!(matches!(journal(bytes).err(), Some(Malformed::Signature)), "{bytes:?}");
    }
    let mut bytes = file(REGULAR);
    bytes[12] |= 0x80;
    assert!(matches!(journal(&bytes).err(), Some(Malformed::Flags(_))));
    let mut bytes = file(REGULAR);
    bytes[88..96].fill(0xff);
    assert!(matches!(journal(&bytes).err(), Some(Malformed::Object { what: "the header", .. })));
}

#[test]
fn a_list_that_leads_back_to_itself_ends() {
    for fixture in [REGULAR, COMPACT] {
        let mut bytes = file(fixture);
        let first = u64::from_le_bytes(bytes[176..184].try_into().unwrap());
        bytes[152..160].fill(0x7f);
        let at = usize::try_from(first).unwrap();
        bytes[at + 16..at + 24].copy_from_slice(&first.to_le_bytes());
        let (entries, failure) = journal(&bytes).unwrap().entries();
        assert!(entries.len() <= 40);
        assert!(matches!(failure, Some(Malformed::Object { what: "the next list of entries", .. })));
    }
}

#[test]
fn an_object_beyond_the_end_is_none() {
    let whole = file(REGULAR);
    // Cut off behind the header: all offsets lead nowhere.
    let mut journal = journal(&whole[..4096]).unwrap();
    let (entries, failure) = journal.entries();
    assert!(entries.is_empty() && failure.is_some());
    for at in [0, 7, 8, 4088, 4096, u64::MAX, u64::MAX - 7] {
        assert!(journal.head(at).is_err(), "{at}");
    }
}

#[test]
fn a_field_that_would_fill_the_memory_is_cut() {
    let mut bomb = b"MESSAGE=".to_vec();
    bomb.resize(64 << 20, b'x');
    let packed = zstd::encode_all(&*bomb, 1).unwrap();
    let field = data::field(&packed, true, 4).unwrap();
    let Value::Cut(value) = field.value else { panic!("{field:?}") };
    assert_eq!((field.name.as_slice(), value.as_slice().len()), (&b"MESSAGE"[..], 64 << 10));
    // Packed in another way, torn, without a name, and by two ways at once.
    assert_eq!(data::field(b"?", true, 2).unwrap().value, Value::Packed("lz4"));
    assert!(matches!(data::field(&packed[..packed.len() / 2], true, 4).unwrap().value, Value::Cut(_)));
    assert_eq!(data::field(b"MESSAGE", true, 0), None);
    assert_eq!(data::field(b"=x", true, 0), None);
    assert_eq!(data::field(b"A=x", true, 6), None);
}

static FILES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| [file(REGULAR), file(COMPACT)]);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_journal_with_any_bytes_changed_is_read_to_some_end(
        compact: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<bool>()), 1..40),
        end: prop::sample::Index,
        torn: bool,
    ) {
        let mut bytes = FILES[usize::from(compact)].clone();
        let start = bytes.iter().skip(300).position(|&byte| byte == 3).unwrap();
        for (at, value, early) in changes {
            // The hash tables are not read; of what is, the header is hit as often as the rest.
            let at = if early { 88 + at.index(100) } else { start + at.index(bytes.len() - start - 8) };
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        if torn {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(mut journal) = journal(&bytes) {
            let (entries, _) = journal.entries();
            for at in entries.into_iter().take(100) {
                if let Ok(head) = journal.head(at) {
                    let (fields, _) = journal.fields(at, &head);
                    prop_assert!(fields.len() <= FIELDS_MAX);
                }
            }
        }
    }
}
