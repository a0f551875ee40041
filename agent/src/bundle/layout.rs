//! The fixed parts of the format: limits, names of the tag files, tar headers, the trailer.

use uuid::Uuid;

use super::name::COMPONENT_MAX;

/// Format as it stands in `capture.json`.
pub const FORMAT: &str = "afterimage-bundle/1";
/// Content of one frame at most, in bytes.
pub const FRAME_MAX: usize = 4 << 20;
/// Length of one frame in the file at most: zstd's own bound for incompressible content, and some.
pub const FRAME_FILE_MAX: usize = FRAME_MAX + (64 << 10);
/// Length of a name in the bag (without the id) at most.
pub const NAME_MAX: usize = 1000;
/// Members of one bundle at most.
pub const MEMBERS_MAX: usize = 100_000;
/// Attempts listed in one bundle at most; the rest is counted.
pub const ATTEMPTS_MAX: u64 = 200_000;
/// Size of one tag file at most.
pub const TAG_MAX: u64 = 128 << 20;
/// A tar block.
pub const BLOCK: usize = 512;
/// The zeros that end a tar.
pub const TAR_END: usize = 2 * BLOCK;

/// Our manifest.
pub const CAPTURE: &str = "capture.json";
/// BagIt's payload manifest.
pub const MANIFEST: &str = "manifest-sha256.txt";
/// BagIt's declaration.
pub const BAGIT: &str = "bagit.txt";
/// BagIt's remarks.
pub const BAG_INFO: &str = "bag-info.txt";
/// BagIt's manifest of the tag files: what is signed.
pub const TAGMANIFEST: &str = "tagmanifest-sha256.txt";
/// The signature.
pub const SIGNATURE: &str = "tagmanifest-sha256.txt.sig";
/// All tag files, in their order in the bag.
pub const TAGS: [&str; 6] = [CAPTURE, MANIFEST, BAGIT, BAG_INFO, TAGMANIFEST, SIGNATURE];

/// Length of the trailer.
pub const TRAILER: usize = 24;
const TRAILER_HEAD: [u8; 16] = *b"\x5a\x2a\x4d\x18\x10\0\0\0AFTERIMG";

/// The trailer that points to the first tag frame.
pub fn trailer(tags: u64) -> Vec<u8> {
    [&TRAILER_HEAD[..], &tags.to_le_bytes()].concat()
}

/// Where the first tag frame is, if `bytes` end with a trailer.
pub fn parse_trailer(bytes: &[u8]) -> Option<u64> {
    let (head, offset) = bytes.last_chunk::<TRAILER>()?.split_at(TRAILER_HEAD.len());
    (head == TRAILER_HEAD).then_some(())?;
    Some(u64::from_le_bytes(offset.try_into().ok()?))
}

/// Zeros that follow `size` bytes in a tar.
pub fn padding(size: u64) -> usize {
    let over = usize::try_from(size % 512).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

/// All that stands before the bytes of a member: its header, after a long-name entry where the name needs one.
pub fn header(id: Uuid, name: &str, size: u64) -> Vec<u8> {
    let path = format!("{id}/{name}");
    let mut out = Vec::with_capacity(BLOCK);
    if path.len() > 100 {
        let length = path.len().saturating_add(1);
        let size = u64::try_from(length).unwrap_or(u64::MAX);
        out.extend(block(id, LONG_NAME, tar::EntryType::GNULongName, size));
        out.extend(path.as_bytes());
        out.resize(out.len().saturating_add(1).saturating_add(padding(size)), 0);
    }
    out.extend(block(id, path.as_bytes(), tar::EntryType::Regular, size));
    out
}

/// The name of a long-name entry.
pub const LONG_NAME: &[u8] = b"././@LongLink";

fn block(id: Uuid, path: &[u8], kind: tar::EntryType, size: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_gnu();
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.name.iter_mut().zip(path).for_each(|(to, &from)| *to = from);
    }
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(seconds(id));
    header.set_entry_type(kind);
    header.set_cksum();
    *header.as_bytes()
}

/// The time in a UUIDv7, in seconds since 1970.
pub fn seconds(id: Uuid) -> u64 {
    (id.as_u128() >> 80).try_into().map_or(0, |milliseconds: u64| milliseconds / 1000)
}

/// Whether `name` (without the id) is one a payload member may have.
pub fn is_payload_name(name: &str) -> bool {
    name.len() <= NAME_MAX && name.strip_prefix("data/").is_some_and(|rest| rest.split('/').all(is_component))
}

fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && !matches!(byte, b'%' | b'\\');
    let upper = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    (1..=COMPONENT_MAX).contains(&bytes.len())
        && !matches!(component, "." | "..")
        && bytes.iter().all(plain)
        && !component.starts_with(' ')
        && !component.ends_with([' ', '.'])
        && bytes
            .split(|&byte| byte == b'=')
            .skip(1)
            .all(|after| after.iter().take(2).filter(|b| upper(b)).count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_payload_member_may_not_have() {
        assert!(is_payload_name("data/files/etc/a =20b"));
        for name in [
            "data",
            "data/",
            "data//a",
            "data/a/",
            "/data/a",
            "data/./a",
            "data/../a",
            "data/a\\b",
            "data/50%",
            "data/a.",
            "data/a ",
            "data/ a",
            "data/=2",
            "data/=2g",
            "data/=ff",
            "data/a\n",
            "data/\u{e9}",
            "capture.json",
            "",
        ] {
            assert!(!is_payload_name(name), "{name:?}");
        }
        assert!(!is_payload_name(&format!("data/{}", "a".repeat(201))));
        assert!(!is_payload_name(&format!("data/{}", "a/".repeat(600) + "a")));
    }

    #[test]
    fn the_trailer_is_read_back_and_nothing_else_is() {
        let bytes = trailer(77);
        assert_eq!(bytes.len(), TRAILER);
        assert_eq!(parse_trailer(&bytes), Some(77));
        assert_eq!(parse_trailer(&bytes[1..]), None);
        let mut other = bytes.clone();
        other[9] ^= 1;
        assert_eq!(parse_trailer(&other), None);
    }

    #[test]
    fn headers_are_as_the_format_says() {
        let id = Uuid::parse_str("01931b1c-9f80-7000-8000-000000000000").unwrap();
        let header = header(id, "data/x", 5);
        assert_eq!(&header[100..136], b"0000600\x000000000\x000000000\x0000000000005\0");
        let mtime = format!("{:011o}\0", 0x0193_1b1c_9f80_u64 / 1000);
        assert_eq!(&header[136..148], mtime.as_bytes());
        assert_eq!(&header[155..157], b"\x000");
        assert_eq!(&header[257..265], b"ustar  \0");
        assert!(header[265..].iter().all(|&byte| byte == 0));
        let large = super::header(id, "data/x", 8 << 30);
        assert_eq!(&large[124..136], b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
        let long = super::header(id, &format!("data/{}", "a".repeat(100)), 5);
        assert_eq!(long.len(), 3 * BLOCK);
        assert_eq!(&long[..13], LONG_NAME);
    }
}
