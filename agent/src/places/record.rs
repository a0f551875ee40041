//! What a fanotify group with `FAN_REPORT_DFID_NAME` gives to read (fanotify(7)). Bytes in, values out.

/// Bytes of a handle; the kernel's own limit (`MAX_HANDLE_SZ`).
pub const HANDLE_MAX: usize = 128;
/// Bytes of a name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// `sizeof(struct fanotify_event_metadata)`.
const METADATA: usize = 24;
/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;
/// `FAN_EVENT_INFO_TYPE_DFID_NAME`.
const DFID_NAME: u8 = 2;
/// Header, fsid, length and type of the handle.
const FIXED: usize = 4 + 8 + 4 + 4;

/// Bits of an event's mask (include/uapi/linux/fanotify.h).
pub mod mask {
    /// Written to.
    pub const MODIFY: u64 = 0x2;
    /// Attributes changed.
    pub const ATTRIB: u64 = 0x4;
    /// Closed after it was open for writing.
    pub const CLOSE_WRITE: u64 = 0x8;
    /// Renamed from this name.
    pub const MOVED_FROM: u64 = 0x40;
    /// Renamed to this name.
    pub const MOVED_TO: u64 = 0x80;
    /// Created.
    pub const CREATE: u64 = 0x100;
    /// Deleted.
    pub const DELETE: u64 = 0x200;
    /// The queue was full.
    pub const Q_OVERFLOW: u64 = 0x4000;
    /// It is a directory.
    pub const ONDIR: u64 = 0x4000_0000;
}

/// A directory's identity for as long as it exists, whatever its path: the file system and the handle in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// `f_fsid` of statfs(2).
    pub fsid: [u8; 8],
    /// The handle's type.
    pub kind: i32,
    /// The handle.
    pub bytes: Vec<u8>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something was done to a name in a directory; `.` is the directory itself.
    Entry {
        /// What, as bits of [`mask`].
        mask: u64,
        /// The process in the reader's PID namespace; 0 for one outside.
        pid: u32,
        /// The directory.
        directory: Handle,
        /// The name.
        name: Vec<u8>,
    },
    /// The queue was full: nobody knows what is missing.
    Overflow,
}

/// The records in `bytes`; the number of those that were not understood. What follows a record of impossible length is
/// one that was not understood.
pub fn parse(mut bytes: &[u8]) -> (Vec<Record>, u64) {
    let (mut records, mut broken) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok());
        let split =
            length.filter(|&length| length >= METADATA).and_then(|length| bytes.split_at_checked(length));
        let Some((event, rest)) = split else { return (records, broken.saturating_add(1)) };
        match record(event) {
            Some(record) => records.push(record),
            None => broken = broken.saturating_add(1),
        }
        bytes = rest;
    }
    (records, broken)
}

fn record(event: &[u8]) -> Option<Record> {
    if *event.get(4)? != VERSION {
        return None;
    }
    let metadata = usize::from(u16::from_ne_bytes(array(event, 6)?));
    let mask = u64::from_ne_bytes(array(event, 8)?);
    let pid = u32_at(event, 20)?;
    if mask & mask::Q_OVERFLOW != 0 {
        return Some(Record::Overflow);
    }
    let mut rest = event.get(metadata.max(METADATA)..)?;
    while let Some(&kind) = rest.first() {
        let length = usize::from(u16::from_ne_bytes(array(rest, 2)?));
        let (info, others) = rest.split_at_checked(length).filter(|_| length >= 4)?;
        if kind == DFID_NAME {
            let (directory, name) = entry(info)?;
            return Some(Record::Entry { mask, pid, directory, name });
        }
        rest = others;
    }
    None
}

fn entry(info: &[u8]) -> Option<(Handle, Vec<u8>)> {
    let length = usize::try_from(u32_at(info, 12)?).ok().filter(|&length| length <= HANDLE_MAX)?;
    let (bytes, name) = info.get(FIXED..)?.split_at_checked(length)?;
    let end = name.iter().position(|&byte| byte == 0).filter(|&end| end <= NAME_MAX)?;
    let name = name.get(..end).filter(|name| !name.is_empty() && !name.contains(&b'/'))?;
    let kind = i32::from_ne_bytes(array(info, 16)?);
    Some((Handle { fsid: array(info, 4)?, kind, bytes: bytes.to_vec() }, name.to_vec()))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(array(bytes, at)?))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let length = (FIXED + handle.len() + name.len() + 1).next_multiple_of(4);
        let mut info = vec![kind, 0];
        info.extend(u16::try_from(length).unwrap().to_ne_bytes());
        info.extend([7; 8]);
        info.extend(u32::try_from(handle.len()).unwrap().to_ne_bytes());
        info.extend(1_i32.to_ne_bytes());
        info.extend(handle);
        info.extend(name);
        info.resize(length, 0);
        info
    }

    fn event(mask: u64, pid: u32, infos: &[Vec<u8>]) -> Vec<u8> {
        let body = infos.concat();
        let mut event = u32::try_from(METADATA + body.len()).unwrap().to_ne_bytes().to_vec();
        event.extend([VERSION, 0]);
        event.extend(24_u16.to_ne_bytes());
        event.extend(mask.to_ne_bytes());
        event.extend((-1_i32).to_ne_bytes());
        event.extend(pid.to_ne_bytes());
        event.extend(body);
        event
    }

    fn expected(mask: u64, pid: u32, name: &[u8]) -> Record {
        let directory = Handle { fsid: [7; 8], kind: 1, bytes: b"12345678".to_vec() };
        Record::Entry { mask, pid, directory, name: name.to_vec() }
    }

    #[test]
    fn entries_and_a_full_queue_are_read_whatever_stands_between() {
        let first = event(mask::CREATE, 42, &[info(9, b"zz", b"q"), info(DFID_NAME, b"12345678", b"x\xff")]);
        let bytes =
            [first, event(mask::Q_OVERFLOW, 0, &[]), event(2, 0, &[info(DFID_NAME, b"12345678", b".")])];
        let records = vec![expected(mask::CREATE, 42, b"x\xff"), Record::Overflow, expected(2, 0, b".")];
        assert_eq!(parse(&bytes.concat()), (records, 0));
        assert_eq!(parse(&[]), (Vec::new(), 0));
    }

    #[test]
    fn what_is_not_a_record_is_counted_and_the_next_one_is_read() {
        let good = event(2, 5, &[info(DFID_NAME, b"12345678", b"x")]);
        let mut other_version = good.clone();
        other_version[4] = 2;
        let mut long_handle = good.clone();
        long_handle[METADATA + 12] = 255;
        let mut no_info_length = good.clone();
        no_info_length[METADATA + 2] = 0;
        let mut long_info = good.clone();
        long_info[METADATA + 3] = 9;
        let long_name = event(2, 5, &[info(DFID_NAME, b"12345678", &[b'x'; 256])]);
        let a_path = event(2, 5, &[info(DFID_NAME, b"12345678", b"a/b")]);
        let no_name = event(2, 5, &[info(DFID_NAME, b"12345678", b"")]);
        let no_info = event(2, 5, &[]);
        for bad in
            [other_version, long_handle, no_info_length, long_info, long_name, a_path, no_name, no_info]
        {
            assert_eq!(parse(&[bad, good.clone()].concat()), (vec![expected(2, 5, b"x")], 1));
        }
        let mut endless = good.clone();
        endless[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut short = good.clone();
        short[..4].copy_from_slice(&0_u32.to_ne_bytes());
        for bad in [endless, short, good[..10].to_vec()] {
            assert_eq!(parse(&[good.clone(), bad].concat()), (vec![expected(2, 5, b"x")], 1));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let (records, broken) = parse(&bytes);
            prop_assert!(records.len() + usize::try_from(broken).unwrap() <= bytes.len());
        }

        #[test]
        fn a_changed_byte_breaks_nothing_else(at in 0_usize..60, byte in any::<u8>()) {
            let mut bytes = event(2, 5, &[info(DFID_NAME, b"12345678", b"authorized_keys")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            for record in parse(&bytes).0 {
                if let Record::Entry { directory, name, .. } = record {
                    prop_assert!(directory.bytes.len() <= HANDLE_MAX && !name.is_empty() && !name.contains(&0));
                }
            }
        }
    }
}
