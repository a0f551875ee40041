//! `/proc/PID/status`: `Name:\tvalue` lines; the kernel escapes newlines and backslashes in the name.

use super::{Error, decimal};

/// The lines of `/proc/PID/status` that other files do not give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Thread group: the pid of the process.
    pub tgid: u32,
    /// The process that traces it, 0 for none.
    pub tracer: u32,
    /// Real, effective, saved and file system user.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group.
    pub gids: [u32; 4],
    /// Its pid in each PID namespace, from the reader's inwards.
    pub namespace_pids: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp: u32,
}

/// PID namespaces nest at most this deep (`MAX_PID_NS_LEVEL`).
const DEEPEST: usize = 33;

impl Status {
    /// Reads the whole file's bytes. `TracerPid`, `NSpid`, `CapEff` and `Seccomp` may be missing.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let [uid, gid] =
            [("Uid", "Uid"), ("Gid", "Gid")].map(|(key, name)| four(text, key).ok_or(missing(name)));
        let number = |key| line(text, key).and_then(decimal);
        let capabilities = line(text, "CapEff").and_then(|value| {
            std::str::from_utf8(value).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())
        });
        Ok(Self {
            tgid: number("Tgid").ok_or(missing("Tgid"))?,
            tracer: number("TracerPid").unwrap_or(0),
            uids: uid?,
            gids: gid?,
            namespace_pids: line(text, "NSpid")
                .map_or_else(Vec::new, |value| numbers(value).take(DEEPEST).collect()),
            capabilities: capabilities.unwrap_or(0),
            seccomp: number("Seccomp").unwrap_or(0),
        })
    }
}

/// The short name, as it is escaped there.
pub fn status_name(text: &[u8]) -> Option<crate::text::Bytes> {
    line(text, "Name").map(crate::text::Bytes::from)
}

fn missing(field: &'static str) -> Error {
    Error::Field { file: "status", field }
}

fn line<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
        .map(<[u8]>::trim_ascii)
}

fn numbers(value: &[u8]) -> impl Iterator<Item = u32> {
    value.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).map_while(decimal)
}

fn four(text: &[u8], key: &str) -> Option<[u32; 4]> {
    let mut values = numbers(line(text, key)?);
    Some([values.next()?, values.next()?, values.next()?, values.next()?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"Name:\tx\\nUid:\t0\nUmask:\t0022\nTgid:\t42\nTracerPid:\t7\n\
        Uid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nNSpid:\t42\t3\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n";

    #[test]
    fn the_lines_are_found() {
        let status = Status::parse(TEXT).unwrap();
        assert_eq!((status.tgid, status.tracer, status.seccomp), (42, 7, 2));
        assert_eq!((status.uids, status.gids), ([1000, 1001, 1002, 1003], [5, 6, 7, 8]));
        assert_eq!(
            (status.namespace_pids.as_slice(), status.capabilities),
            ([42, 3].as_slice(), 0x01ff_ffff_ffff)
        );
    }

    #[test]
    fn our_own_is_read() {
        let status = Status::parse(&std::fs::read("/proc/self/status").unwrap()).unwrap();
        assert_eq!(status.tgid, std::process::id());
        assert_eq!(status.uids[1], nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn missing_or_broken_ids_are_refused() {
        for text in [
            "",
            "Tgid:\t1\n",
            "Tgid:\t1\nUid:\t1 2 3\nGid:\t1 2 3 4\n",
            "Tgid:\tx\nUid:\t1 2 3 4\nGid:\t1 2 3 4",
        ] {
            assert!(Status::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>, at in 0..TEXT.len()) {
            let mut text = TEXT.to_vec();
            text.splice(at..at, bytes);
            if let Ok(status) = Status::parse(&text) {
                prop_assert!(status.namespace_pids.len() <= DEEPEST);
            }
        }
    }
}
