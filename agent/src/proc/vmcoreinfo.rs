//! `VMCOREINFO`: what the kernel leaves for whoever reads its memory.

/// The parts that say where the kernel was put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vmcoreinfo {
    /// `KERNELOFFSET`: how far the kernel's addresses were moved (KASLR).
    pub kernel_offset: Option<u64>,
    /// `NUMBER(phys_base)` of x86-64: what to add to an address less 0xffffffff80000000 for the physical one.
    pub physical_base: Option<i64>,
}

impl Vmcoreinfo {
    /// Reads lines of `KEY=VALUE`; what is none is left out.
    pub fn parse(text: &[u8]) -> Self {
        let mut found = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match line.split_once('=') {
                Some(("KERNELOFFSET", value)) => found.kernel_offset = u64::from_str_radix(value, 16).ok(),
                Some(("NUMBER(phys_base)", value)) => found.physical_base = value.parse().ok(),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_place_of_the_kernel_is_read() {
        let text = b"OSRELEASE=6.1.0-56-cloud-amd64\nNUMBER(phys_base)=-478150656\nSYMBOL(init_uts_ns)=ffffffff9f1\n\
            KERNELOFFSET=1d600000\nCRASHTIME=\n";
        let expected = Vmcoreinfo { kernel_offset: Some(0x1d60_0000), physical_base: Some(-478_150_656) };
        assert_eq!(Vmcoreinfo::parse(text), expected);
    }

    #[test]
    fn broken_lines_tell_nothing() {
        for text in [
            "",
            "KERNELOFFSET",
            "KERNELOFFSET=",
            "KERNELOFFSET=-1",
            "NUMBER(phys_base)=0x10",
            " KERNELOFFSET=1",
            "xKERNELOFFSET=1",
        ] {
            assert_eq!(Vmcoreinfo::parse(text.as_bytes()), Vmcoreinfo::default(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes: Vec<u8>) {
            Vmcoreinfo::parse(&bytes);
        }
    }
}
