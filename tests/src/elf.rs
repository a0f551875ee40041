//! The smallest programs: an ELF file of 64 bits for x86-64 that exits, and any bytes after it.

const CODE: u64 = 0x78;
const BASE: u64 = 0x40_0000;

/// A program that exits with `code` and holds `tail`, so that no two need be the same.
pub fn exits(code: u8, tail: &[u8]) -> Vec<u8> {
    // mov edi, code; mov eax, 60 (exit); syscall
    let instructions = [0xbf, code, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let size = CODE + instructions.len() as u64 + tail.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // ET_EXEC, EM_X86_64
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([BASE + CODE, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // PT_LOAD, readable and executable, all of the file.
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(instructions);
    file.extend(tail);
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_runs_and_exits_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, exits(42, b"tail")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(std::process::Command::new(path).status().unwrap().code(), Some(42));
    }
}
