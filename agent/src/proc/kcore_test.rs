use proptest::prelude::*;

use super::*;

/// As fs/proc/kcore.c of 6.1 writes it.
fn program(kind: u32, offset: u64, address: u64, physical: u64, size: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(7_u32.to_le_bytes());
    for field in [offset, address, physical, size, size, 4096] {
        bytes.extend(field.to_le_bytes());
    }
    bytes
}

fn head(programs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for field in [0_u64, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for field in [64, 56, u16::try_from(programs.len()).unwrap(), 0, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(programs.concat());
    bytes
}

fn note(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(name.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    for part in [name, content] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

const NOWHERE: u64 = u64::MAX;

#[test]
fn pieces_have_their_physical_addresses_and_the_notes_their_place() {
    let bytes = head(&[
        program(4, 0x238, 0, 0, 0x1810),
        program(1, 0x7fff_ff60_3000, 0xffff_ffff_8000_0000, 0x1000_0000, 0x100_0000),
        program(1, 0x4900_0000_3000, 0xffff_c900_0000_0000, NOWHERE, 0x2000_0000_0000),
        program(1, 0x880_0000_4000, 0xffff_8880_0000_1000, 0x1000, 0x9_e000),
        program(6, 0, 0, 0, 1),
        program(1, 0, 0xffff_8880_0000_1000, 0x1000, 0),
    ]);
    let kcore = Kcore::parse(&bytes).unwrap();
    assert_eq!(kcore.notes, Some((0x238, 0x1810)));
    let physical: Vec<_> = kcore.loads.iter().map(|load| load.physical).collect();
    assert_eq!(physical, [Some(0x1000_0000), None, Some(0x1000)]);
    let ram = Load {
        offset: 0x880_0000_4000,
        address: 0xffff_8880_0000_1000,
        physical: Some(0x1000),
        size: 0x9_e000,
    };
    assert_eq!(kcore.loads[2], ram);
}

#[test]
fn what_is_no_core_is_refused() {
    let good = head(&[program(1, 0, 0, 0, 1)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Kcore::parse(&bytes)
    };
    assert!(Kcore::parse(&good).is_ok());
    for (at, byte) in [(0, 0), (3, b'G'), (4, 1), (5, 2), (16, 2), (54, 32)] {
        assert_eq!(with(at, byte), Err(Error::Kind), "byte {at}");
    }
    // More headers than there are, or headers that begin outside.
    for (at, byte) in [(56, 2), (57, 0xff), (33, 1), (39, 0xff)] {
        assert_eq!(with(at, byte), Err(Error::Short), "byte {at}");
    }
    for length in 0..good.len() {
        assert_eq!(Kcore::parse(&good[..length]), Err(Error::Short), "{length} bytes");
    }
}

#[test]
fn pieces_that_end_beyond_the_address_space_are_none() {
    let bytes = head(&[
        program(1, 1, 0, 0, u64::MAX),
        program(1, 0, u64::MAX, 0, 1),
        program(1, 0, 0, NOWHERE - 1, 4),
    ]);
    let loads = Kcore::parse(&bytes).unwrap().loads;
    assert_eq!(loads, [Load { offset: 0, address: 0, physical: None, size: 4 }]);
}

#[test]
fn the_right_note_is_found() {
    let text = b"OSRELEASE=6.1.0\nPAGESIZE=4096\n";
    let notes = [note(b"CORE\0", &[7; 336]), note(b"VMCOREINFO\0", text), note(b"LINUX\0", b"x")].concat();
    assert_eq!(vmcoreinfo(&notes), Some(&text[..]));
    assert_eq!(vmcoreinfo(&note(b"CORE\0", b"VMCOREINFO\0")), None);
    for length in 0..notes.len() - 30 {
        if length < 12 + 8 + 336 + 12 + 12 + text.len() {
            assert_eq!(vmcoreinfo(&notes[..length]), None, "{length} bytes");
        }
    }
    assert_eq!(vmcoreinfo(&[0xff; 64]), None);
    assert_eq!(vmcoreinfo(&[0; 64]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_borne(bytes: Vec<u8>) {
        drop(Kcore::parse(&bytes));
        vmcoreinfo(&bytes);
    }

    #[test]
    fn any_headers_give_pieces_that_end(fields: Vec<(u32, u64, u64, u64, u64)>) {
        let programs: Vec<_> = fields.iter().map(|&(kind, offset, address, physical, size)| program(kind % 5, offset, address, physical, size)).collect();
        for load in Kcore::parse(&head(&programs)).unwrap().loads {
            prop_assert!(load.offset.checked_add(load.size).is_some() && load.address.checked_add(load.size).is_some());
            prop_assert!(load.physical.is_none_or(|physical| physical.checked_add(load.size).is_some()));
        }
    }
}
