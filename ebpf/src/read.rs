//! Reading kernel memory by the field table.
//!
//! What cannot be read is zero: the helper clears what it could not fill, and a null pointer followed further is again
//! unreadable. So nothing here branches at run time, which the verifier of older kernels is grateful for.

use core::mem::MaybeUninit;

use afterimage_ebpf::config;
use afterimage_ebpf::field::{ABSENT, COUNT, Field};
use aya_ebpf::helpers::generated;

/// Offsets by [`Field::index`]; written by the loader.
#[unsafe(no_mangle)]
static OFFSETS: [u32; COUNT] = [ABSENT; COUNT];

/// Values by the indices of [`config`]; written by the loader.
#[unsafe(no_mangle)]
static CONFIG: [u32; config::COUNT] = [0; config::COUNT];

/// An address in the kernel; 0 is none.
pub(crate) type Address = u64;

/// The offset of `field` in this kernel.
#[inline(always)]
pub(crate) fn offset(field: Field) -> u32 {
    // SAFETY: the index of a field is below COUNT; volatile, because the loader changes the value after compilation.
    unsafe { core::ptr::read_volatile(OFFSETS.as_ptr().add(field.index())) }
}

/// A value of the agent's.
#[inline(always)]
pub(crate) fn setting(index: usize) -> u32 {
    // SAFETY: as above; every caller names a constant of `config`.
    unsafe { core::ptr::read_volatile(CONFIG.as_ptr().add(index)) }
}

/// Whether this kernel has `field`; the verifier knows the answer and drops the other way.
#[inline(always)]
pub(crate) fn exists(field: Field) -> bool {
    offset(field) != ABSENT
}

/// `field` of the structure at `base`; `T` is a number, or an array of bytes.
#[inline(always)]
pub(crate) fn read<T>(base: Address, field: Field) -> T {
    let address = if exists(field) { base.wrapping_add(offset(field) as u64) } else { 0 };
    read_at(address)
}

/// A pointer in `field`.
#[inline(always)]
pub(crate) fn follow(base: Address, field: Field) -> Address {
    read(base, field)
}

/// The value at `address`; `T` is a number, or an array of bytes.
#[inline(always)]
pub(crate) fn read_at<T>(address: Address) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address itself, and fills `value` or clears it.
    unsafe {
        generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}
