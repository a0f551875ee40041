//! `/proc/kallsyms`: where the kernel's symbols are.

use std::collections::BTreeSet;

/// The addresses of the kernel's own (not its modules') symbols that have these names; `None` for one that is not there,
/// or whose address is hidden (without CAP_SYSLOG all are zeros).
pub fn addresses<const N: usize>(text: &[u8], names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.split(|&byte| byte == b'\n') {
        let Some((address, name)) = symbol(line) else { continue };
        for (place, _) in
            found.iter_mut().zip(names).filter(|(place, wanted)| place.is_none() && *wanted == name)
        {
            *place = Some(address);
        }
    }
    found
}

/// `ffffffff81000000 T _text`; a module's symbol has its module behind it.
fn symbol(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split(' ');
    let (address, _kind, name) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || name.contains('\t') || address.len() != 16 {
        return None;
    }
    let address = u64::from_str_radix(address, 16).ok()?;
    (address != 0).then_some((address, name))
}

/// The modules that have symbols. What the kernel makes itself while it runs (`[bpf]`, `[__builtin__ftrace]`) is none.
pub fn modules(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let name = |line: &[u8]| {
        let tab = line.iter().rposition(|&byte| byte == b'\t')?;
        let name = line.get(tab.saturating_add(1)..)?.strip_prefix(b"[")?.strip_suffix(b"]")?;
        (name != b"bpf" && !name.starts_with(b"__builtin__") && !name.is_empty()).then(|| name.to_vec())
    };
    text.split(|&byte| byte == b'\n').filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_own_symbols_are_found_and_no_look_alikes() {
        let text = b"ffffffff9e600000 T _text\nffffffff9f000000 r __ksymtab__text\nffffffffc0001000 t page_offset_base\t[evil]\n\
            ffffffff9fa2b3c8 D page_offset_base\nffffffffc0001000 T _text\t[evil]\n";
        assert_eq!(
            addresses(text, ["page_offset_base", "_text", "linux_banner"]),
            [Some(0xffff_ffff_9fa2_b3c8), Some(0xffff_ffff_9e60_0000), None]
        );
    }

    #[test]
    fn hidden_and_broken_lines_tell_nothing() {
        for line in [
            "0000000000000000 T _text",
            "",
            " T _text",
            "ffffffff9e600000 _text",
            "ffffffff9e600000 T",
            "ffffffff9e600000  T _text",
            "ffffffff9e60000 T _text",
            "+fffffff9e600000x T _text",
            "ffffffff9e600000 T _text more",
            "gfffffff9e600000 T _text",
        ] {
            assert_eq!(addresses(line.as_bytes(), ["_text"]), [None], "{line}");
        }
    }

    #[test]
    fn modules_are_named_behind_their_symbols() {
        let text = b"ffffffffc0001000 t ext4_x\t[ext4]\n0000000000000000 T y\t[evil]\nffffffff81000000 T _text\n\
            ffffffffc0002000 t bpf_prog_1\t[bpf]\nffffffffc0003000 t z\t[__builtin__ftrace]\n0 t q\t[]\n0 t q\t[half\n";
        assert_eq!(modules(text), BTreeSet::from([b"ext4".to_vec(), b"evil".to_vec()]));
        for text in [&b""[..], b"\n\n", b"ffffffff81000000 T [x]\n", b"\t[", b"\t]"] {
            assert_eq!(modules(text), BTreeSet::new());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes: Vec<u8>) {
            prop_assert!(addresses(&bytes, ["_text"])[0] != Some(0));
        }
    }
}
