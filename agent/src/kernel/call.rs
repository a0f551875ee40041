//! System calls by their numbers, and what they are to the probe.

use afterimage_ebpf::call::{self, TABLE};

/// One call: its number for programs of 64 bits, and for those of 32.
struct Row(Option<libc::c_long>, usize, u8);

/// Numbers of 32 bits: arch/x86/entry/syscalls/syscall_32.tbl.
const ROWS: [Row; 24] = [
    Row(Some(libc::SYS_memfd_create), 356, call::MEMFD),
    Row(Some(libc::SYS_ptrace), 26, call::PTRACE),
    Row(Some(libc::SYS_process_vm_writev), 348, call::WRITE_MEMORY),
    Row(Some(libc::SYS_bpf), 357, call::LOAD_PROGRAM),
    Row(Some(libc::SYS_mount), 21, call::MOUNT),
    Row(Some(libc::SYS_umount2), 52, call::UNMOUNT),
    Row(Some(libc::SYS_move_mount), 429, call::MOVE_MOUNT),
    Row(Some(libc::SYS_pivot_root), 217, call::PIVOT_ROOT),
    Row(Some(libc::SYS_unshare), 310, call::UNSHARE),
    Row(Some(libc::SYS_setns), 346, call::SETNS),
    Row(Some(libc::SYS_setuid), 213, call::BECOME),
    Row(Some(libc::SYS_setreuid), 203, call::BECOME),
    Row(Some(libc::SYS_setresuid), 208, call::BECOME),
    // The one of 16 bits, which old programs of 32 bits use.
    Row(None, 23, call::BECOME),
    Row(Some(libc::SYS_chmod), 15, call::CHMOD),
    Row(Some(libc::SYS_fchmod), 94, call::FCHMOD),
    Row(Some(libc::SYS_fchmodat), 306, call::FCHMODAT),
    Row(Some(FCHMODAT2), 452, call::FCHMODAT),
    Row(Some(libc::SYS_rename), 38, call::RENAME),
    Row(Some(libc::SYS_renameat), 302, call::RENAMEAT),
    Row(Some(libc::SYS_renameat2), 353, call::RENAMEAT),
    Row(Some(libc::SYS_unlink), 10, call::UNLINK),
    Row(Some(libc::SYS_unlinkat), 301, call::UNLINKAT),
    Row(Some(libc::SYS_accept4), 364, call::ACCEPT),
];
/// Since 6.6, with the same number everywhere.
const FCHMODAT2: libc::c_long = 452;

/// The probe's two tables. `accept`: whether accepted connections are seen by them too; `calls`: whether the rest is.
pub(super) fn tables(accept: bool, calls: bool) -> ([u8; TABLE], [u8; TABLE]) {
    let (mut own, mut compat) = ([call::NONE; TABLE], [call::NONE; TABLE]);
    let plain = Row(Some(libc::SYS_accept), TABLE, call::ACCEPT);
    for Row(number, compat_number, what) in ROWS.iter().chain([&plain]) {
        if !(if *what == call::ACCEPT { accept } else { calls }) {
            continue;
        }
        let number = number.and_then(|number| usize::try_from(number).ok());
        let places = [number.and_then(|number| own.get_mut(number)), compat.get_mut(*compat_number)];
        for place in places.into_iter().flatten() {
            *place = *what;
        }
    }
    (own, compat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_place_and_what_is_switched_off_has_none() {
        let (own, compat) = tables(true, true);
        let of = |number: libc::c_long| own[usize::try_from(number).unwrap()];
        assert_eq!(
            (of(libc::SYS_rename), of(libc::SYS_accept), of(libc::SYS_read)),
            (call::RENAME, call::ACCEPT, 0)
        );
        assert_eq!((compat[38], compat[364], compat[3]), (call::RENAME, call::ACCEPT, 0));
        assert_eq!(own.iter().filter(|&&what| what != 0).count(), ROWS.len());
        let (own, compat) = tables(false, false);
        assert!(own.iter().chain(&compat).all(|&what| what == call::NONE));
        let (own, _) = tables(true, false);
        assert_eq!(own.iter().filter(|&&what| what != 0).count(), 2);
    }
}
