//! Copies the kernel's memory to the agent, a piece at a time: loaded only when an image of the whole RAM is asked for and
//! /proc/kcore is not to be had. It is attached to nothing: the agent runs it (`BPF_PROG_TEST_RUN`).
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "a probe reads kernel memory"))]

#[cfg(target_arch = "bpf")]
mod program {
    use afterimage_ebpf::RAM_PIECE;
    use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
    use aya_ebpf::macros::{map, raw_tracepoint};
    use aya_ebpf::maps::Array;
    use aya_ebpf::programs::RawTracePointContext;

    const BPF_F_MMAPABLE: u32 = 1 << 10;
    const EINVAL: i32 = 22;

    /// What was read; the agent has it in its own address space.
    #[map]
    static PIECE: Array<[u8; RAM_PIECE]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

    /// Reads as many bytes as the second argument says at the address that the first says; 0, or an error's number. Where
    /// a byte cannot be read, all are zeros.
    #[raw_tracepoint]
    pub(super) fn ram(context: RawTracePointContext) -> i32 {
        let (address, length): (u64, u64) = (context.arg(0), context.arg(1));
        let Some(piece) = PIECE.get_ptr_mut(0) else { return -EINVAL };
        if length > RAM_PIECE as u64 {
            return -EINVAL;
        }
        // SAFETY: the value has RAM_PIECE bytes, which the verifier checks; the helper checks the address itself.
        let answer = unsafe { bpf_probe_read_kernel(piece.cast(), length as u32, address as *const _) };
        answer as i32
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";

    // The verifier refuses a program in which this could be reached, so it never is.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
