//! The record under construction, and names on the way from a leaf to its root: paths of files and of cgroups.
//!
//! The cursor lives in the map, not in a register: the verifier then knows nothing of it, and does not follow each
//! possible length of each name into everything that comes after.

use afterimage_ebpf::field::Field;
use afterimage_ebpf::{COMPONENT_BYTES, Exec, Header, config};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated;

use crate::read::{Address, Place, offset, read_at, setting};

/// Bytes a cursor can point at, a power of two: masking with it is what the verifier understands as a bound.
const SPAN: usize = 8192;
/// The most one copy adds, again a power of two.
const COPY: usize = 4096;

/// Steps (names and mounts crossed) of one walk.
const STEPS: u32 = 40;

/// What is fixed in the record of an exec.
#[repr(C)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) body: Exec,
}

/// The one record that is too large for the stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record; a copy that starts at the last place of the span still ends inside.
    buffer: [u8; SPAN + COPY],
    cursor: u64,
    /// When it was taken; 0 while it is free.
    pub(crate) owner: u64,
}

/// One per cpu.
#[derive(Clone, Copy)]
pub(crate) struct Draft(pub(crate) *mut Scratch);

impl Draft {
    /// The fixed part.
    #[inline(always)]
    pub(crate) fn record(self) -> *mut Record {
        self.0.cast()
    }

    /// Starts after the fixed part.
    #[inline(always)]
    pub(crate) fn begin(self) {
        self.move_to(size_of::<Record>() as u64);
    }

    /// Starts after a header and a body of this kind.
    #[inline(always)]
    pub(crate) fn begin_with<T>(self) {
        self.move_to((size_of::<Header>() + size_of::<T>()) as u64);
    }

    /// Writes the fixed part, whose size `begin_with` has left room for.
    #[inline(always)]
    pub(crate) fn finish<T>(self, header: Header, body: T) {
        let start = self.0.cast::<u8>();
        // SAFETY: the fixed part is at the beginning of the buffer, which is larger and aligned to eight bytes.
        unsafe {
            start.cast::<Header>().write(header);
            start.add(size_of::<Header>()).cast::<T>().write(body);
        }
    }

    /// How many bytes `append` adds.
    #[inline(always)]
    pub(crate) fn measured(self, append: impl FnOnce(Self)) -> u16 {
        let before = self.size();
        append(self);
        self.size().wrapping_sub(before) as u16
    }

    /// Bytes so far.
    #[inline(always)]
    pub(crate) fn size(self) -> u64 {
        // SAFETY: a map value; volatile, so that the value is really forgotten.
        unsafe { core::ptr::read_volatile(&raw const (*self.0).cursor) & (SPAN as u64 - 1) }
    }

    #[inline(always)]
    fn move_to(self, cursor: u64) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*self.0).cursor, cursor) }
    }

    #[inline(always)]
    fn place(self) -> *mut c_void {
        // SAFETY: `size` is masked to the span.
        unsafe { self.0.cast::<u8>().add(self.size() as usize).cast() }
    }

    /// Appends the kernel string at `source`, at most `most` bytes with its NUL; how many bytes.
    #[inline(always)]
    pub(crate) fn text(self, most: usize, source: Address) -> u64 {
        // SAFETY: a masked cursor and at most COPY bytes stay inside; the helper checks the source.
        let length =
            unsafe { generated::bpf_probe_read_kernel_str(self.place(), most as u32, source as *const _) };
        let length = if length > 0 { length as u64 & (COPY as u64 - 1) } else { 0 };
        self.move_to(self.size() + length);
        length
    }

    /// Appends the string at `source` in the current task's own memory, without its NUL.
    #[inline(always)]
    pub(crate) fn own_text(self, most: usize, source: Address) {
        // SAFETY: as above.
        let length =
            unsafe { generated::bpf_probe_read_user_str(self.place(), most as u32, source as *const _) };
        let length = if length > 0 { length as u64 & (COPY as u64 - 1) } else { 1 };
        self.move_to(self.size() + length - 1);
    }

    /// Appends `length` bytes of the kernel's memory; whether it could be read.
    #[inline(always)]
    pub(crate) fn memory(self, length: u64, source: Address) -> bool {
        let length = core::hint::black_box(length) & (COPY as u64 - 1);
        // SAFETY: as above.
        let failed =
            unsafe { generated::bpf_probe_read_kernel(self.place(), length as u32, source as *const _) };
        if failed == 0 {
            self.move_to(self.size() + length);
        }
        failed == 0
    }

    /// Appends `length` bytes of the current task's own memory; whether it could be read.
    #[inline(always)]
    pub(crate) fn own_memory(self, length: u64, source: Address) -> bool {
        let length = core::hint::black_box(length) & (COPY as u64 - 1);
        // SAFETY: as above.
        let failed =
            unsafe { generated::bpf_probe_read_user(self.place(), length as u32, source as *const _) };
        if failed == 0 {
            self.move_to(self.size() + length);
        }
        failed == 0
    }

    /// Forgets the last byte: the NUL of a text that needs none.
    #[inline(always)]
    pub(crate) fn back(self) {
        self.move_to(self.size() - 1);
    }

    /// Appends the names from the file at `path` (a pair of mount and dentry) up to the root of its mount tree, leaf first,
    /// each with its NUL; whether the root was reached.
    #[inline(always)]
    pub(crate) fn path(self, limit: usize, [vfsmount, dentry]: [Address; 2]) -> bool {
        let within = offset(Field::MountVfsmount) as u64;
        let end = self.size() + limit as u64 - COMPONENT_BYTES as u64;
        let (mut mount, mut dentry) = (Mount::at(vfsmount.wrapping_sub(within)), dentry);
        let mut step = 0;
        while step < STEPS {
            step += 1;
            if dentry == 0 || self.size() > end {
                return false;
            }
            if dentry == mount.root {
                if mount.parent == mount.address {
                    return true;
                }
                dentry = mount.point;
                mount = Mount::at(mount.parent);
                continue;
            }
            let [parent, name] = parent_and_name(dentry);
            self.text(COMPONENT_BYTES, name);
            if parent == dentry {
                return true; // a file without a place, such as a memfd
            }
            dentry = parent;
        }
        false
    }

    /// Appends the names from a cgroup's `node` up to its hierarchy's root, as above.
    #[inline(always)]
    pub(crate) fn cgroup(self, limit: usize, node: Address) -> bool {
        let end = self.size() + limit as u64 - COMPONENT_BYTES as u64;
        let mut node = node;
        let mut step = 0;
        while step < STEPS {
            step += 1;
            let parent = node.follow(Field::NodeParent);
            if parent == 0 {
                return node != 0;
            }
            if self.size() > end {
                return false;
            }
            self.text(COMPONENT_BYTES, node.follow(Field::NodeName));
            node = parent;
        }
        false
    }
}

/// One mount on the way up.
#[derive(Clone, Copy)]
struct Mount {
    address: Address,
    parent: Address,
    point: Address,
    root: Address,
}

impl Mount {
    #[inline(always)]
    fn at(address: Address) -> Self {
        let [parent, point, root] = if setting(config::JOINED) != 0 {
            read_at(address.wrapping_add(offset(Field::MountParent) as u64))
        } else {
            let vfsmount = address.wrapping_add(offset(Field::MountVfsmount) as u64);
            [
                address.follow(Field::MountParent),
                address.follow(Field::MountPoint),
                vfsmount.follow(Field::VfsmountRoot),
            ]
        };
        Self { address, parent, point, root }
    }
}

#[inline(always)]
fn parent_and_name(dentry: Address) -> [Address; 2] {
    if setting(config::JOINED) != 0 {
        let [parent, _, name] = read_at::<[u64; 3]>(dentry.wrapping_add(offset(Field::DentryParent) as u64));
        return [parent, name];
    }
    [dentry.follow(Field::DentryParent), dentry.follow(Field::DentryName)]
}
