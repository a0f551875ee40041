//! Reading kernel memory by the field table.
//!
//! What cannot be read is zero: the helper clears what it could not fill, and a null pointer followed further is again
//! unreadable.

use core::mem::MaybeUninit;

use afterimage_ebpf::config;
use afterimage_ebpf::field::{ABSENT, COUNT, Field};
use aya_ebpf::helpers::generated;
use aya_ebpf::programs::BtfTracePointContext;

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

/// A structure in the kernel, and its fields.
pub(crate) trait Place: Copy {
    /// `field`; zero where it cannot be read. `T` is a number, or an array of numbers.
    fn read<T>(self, field: Field) -> T;
    /// The structure that `field` points to.
    fn follow(self, field: Field) -> Self;
    /// Where it is.
    fn address(self) -> Address;
}

/// A structure whose type the verifier knows: a tracepoint's argument, or what it leads to. Reading it is a plain load
/// (some 20 ns less than the helper), which the kernel makes safe.
#[derive(Clone, Copy)]
pub(crate) struct Typed(*const u8);

impl Typed {
    /// Argument `index` of the tracepoint.
    #[inline(always)]
    pub(crate) fn argument(context: &BtfTracePointContext, index: usize) -> Self {
        Self(context.arg(index))
    }

    /// Whether there is none; before this is asked the verifier does not let an iterator's argument be read.
    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0.is_null()
    }

    /// The pointer that the structure begins with.
    #[inline(always)]
    pub(crate) fn first<T>(self) -> *mut T {
        // SAFETY: the verifier knows the structure, and that a pointer stands there.
        unsafe { core::ptr::read_volatile(self.0.cast()) }
    }
}

impl Place for Typed {
    #[inline(always)]
    fn read<T>(self, field: Field) -> T {
        if !exists(field) || self.0.is_null() {
            // SAFETY: numbers and arrays of them may be zero.
            return unsafe { MaybeUninit::zeroed().assume_init() };
        }
        // SAFETY: the verifier checks type, offset and size; the kernel answers a bad address with zero.
        unsafe { core::ptr::read_volatile(self.0.add(offset(field) as usize).cast()) }
    }

    #[inline(always)]
    fn follow(self, field: Field) -> Self {
        Self(self.read(field))
    }

    #[inline(always)]
    fn address(self) -> Address {
        self.0 as Address
    }
}

impl Place for Address {
    #[inline(always)]
    fn read<T>(self, field: Field) -> T {
        read_at(if exists(field) { self.wrapping_add(offset(field) as u64) } else { 0 })
    }

    #[inline(always)]
    fn follow(self, field: Field) -> Self {
        self.read(field)
    }

    #[inline(always)]
    fn address(self) -> Address {
        self
    }
}

/// The value at `address`; `T` is a number, or an array of numbers.
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
