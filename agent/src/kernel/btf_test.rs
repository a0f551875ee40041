use proptest::prelude::*;

use super::*;

/// Builds BTF by hand.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn kind(&mut self, name: &str, kind: u32, members: u32, last: u32) -> u32 {
        let name = self.name(name);
        self.words(&[name, kind << 24 | members, last]);
        self.count += 1;
        self.count
    }

    fn int(&mut self, bytes: u32) -> u32 {
        let id = self.kind("int", kind::INT, 0, bytes);
        self.words(&[bytes * 8]);
        id
    }

    /// A structure or union; with `flag` the places carry a width in their upper byte.
    fn holder(&mut self, kind: u32, name: &str, size: u32, flag: bool, members: &[(&str, u32, u32)]) -> u32 {
        let count = u32::try_from(members.len()).unwrap();
        let id = self.kind(name, kind | if flag { 0x80 } else { 0 }, count, size);
        for (name, id, place) in members {
            let name = self.name(name);
            self.words(&[name, *id, *place]);
        }
        id
    }

    fn finish(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len(), self.strings.len());
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for word in [HEADER, 0, types, types, strings] {
            data.extend(u32::try_from(word).unwrap().to_ne_bytes());
        }
        data.extend(&self.types);
        data.extend(&self.strings);
        data
    }
}

/// `struct outer { u64 a; union { const u32 b; struct { u8 c; }; }; u16 d:3; struct inner e; u32 f[]; }`
fn sample() -> Vec<u8> {
    let mut make = Builder::new();
    let [long, word, short, byte] = [8, 4, 2, 1].map(|bytes| make.int(bytes));
    let constant = make.kind("", kind::CONST, 0, word);
    let hidden = make.holder(kind::STRUCT, "", 1, false, &[("c", byte, 0)]);
    let union = make.holder(kind::UNION, "", 4, false, &[("b", constant, 0), ("", hidden, 0)]);
    let pointer = make.kind("", kind::PTR, 0, long);
    let inner = make.holder(kind::STRUCT, "inner", 16, false, &[("p", pointer, 64)]);
    let array = make.kind("", kind::ARRAY, 0, 0);
    make.words(&[word, word, 0]);
    let narrow = (3 << 24) + 96;
    make.holder(
        kind::STRUCT,
        "outer",
        40,
        true,
        &[("a", long, 0), ("", union, 64), ("d", short, narrow), ("e", inner, 128), ("f", array, 320)],
    );
    make.holder(kind::STRUCT, "twice", 8, false, &[("x", word, 0), ("y", word, 32)]);
    make.holder(kind::STRUCT, "twice", 8, false, &[("y", word, 0), ("x", word, 32)]);
    make.finish()
}

fn at(path: &str) -> Result<(u32, u32), Error> {
    let data = sample();
    Btf::parse(&data).unwrap().resolve(path).map(|found| (found.offset, found.size))
}

#[test]
fn members_are_found_also_through_what_has_no_name() {
    assert_eq!(at("outer"), Ok((0, 40)));
    assert_eq!(at("outer.a"), Ok((0, 8)));
    assert_eq!(at("outer.b"), Ok((8, 4)));
    assert_eq!(at("outer.c"), Ok((8, 1)));
    assert_eq!(at("outer.e.p"), Ok((24, 8)));
    assert_eq!(at("outer.f"), Ok((40, 0)));
}

#[test]
fn what_could_be_read_wrongly_is_refused() {
    assert_eq!(at("outer.d"), Err(Error::Bitfield("outer.d".to_owned())));
    assert_eq!(at("outer.z"), Err(Error::Missing("outer.z".to_owned())));
    assert_eq!(at("nobody.a"), Err(Error::Missing("nobody.a".to_owned())));
    assert_eq!(at("outer.a.b"), Err(Error::Broken("outer.a.b".to_owned())));
    assert_eq!(at("twice.x"), Err(Error::Ambiguous("twice.x".to_owned())));
    assert_eq!(at(""), Err(Error::Missing(String::new())));
}

#[test]
fn a_type_that_is_made_of_itself_ends() {
    let mut make = Builder::new();
    make.kind("loop", kind::TYPEDEF, 0, 1);
    make.holder(kind::STRUCT, "s", 8, false, &[("m", 1, 0), ("", 2, 0)]);
    let data = make.finish();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.resolve("s.m"), Err(Error::Broken("s.m".to_owned())));
    assert_eq!(btf.resolve("s.n"), Err(Error::Broken("s.n".to_owned())));
}

#[test]
fn a_cut_file_is_refused() {
    let whole = sample();
    for length in 0..whole.len() {
        assert!(Btf::parse(&whole[..length]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(btf) = Btf::parse(&bytes) {
            prop_assert!(btf.resolve("outer.a").is_err());
        }
    }

    #[test]
    fn no_mutation_leads_out_of_bounds(at in 0..sample().len(), bytes in proptest::collection::vec(any::<u8>(), 1..8)) {
        let mut data = sample();
        for (place, byte) in data.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        if let Ok(btf) = Btf::parse(&data) {
            for path in ["outer.a", "outer.b", "outer.c", "outer.e.p", "outer.f", "twice.x"] {
                if let Ok(found) = btf.resolve(path) {
                    prop_assert!(found.offset < 1 << 29);
                }
            }
        }
    }
}
