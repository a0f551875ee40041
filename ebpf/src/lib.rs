//! The wire between the probe and the agent, compiled on both sides.
//!
//! A record is a [`Header`] and one body, chosen by its kind. All numbers are little-endian and in host order of the
//! machine that runs both sides; addresses and ports are in network order. Every structure is free of padding.
#![no_std]

pub mod field;

/// Bytes of the ring unless the configuration says otherwise; a power of two. Absorbs a stall of about 90,000 process
/// lives.
pub const RING_BYTES: u32 = 32 << 20;
/// Bytes of the kernel's memory that are read at once for an image of the whole RAM; a multiple of the page size.
pub const RAM_PIECE: usize = 256 << 10;
/// Inode number of the machine's own PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
pub const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;
/// A process's short name, with its NUL (`TASK_COMM_LEN`).
pub const NAME_BYTES: usize = 16;
/// The longest file name as asked for, with its NUL; longer ones are cut.
pub const FILENAME_BYTES: usize = 1024;
/// The longest argument area; longer ones are cut.
pub const ARGS_BYTES: usize = 4095;
/// The longest executable's path, and the longest working directory, in bytes of names.
pub const PATH_BYTES: usize = 1024;
/// The longest cgroup path.
pub const CGROUP_BYTES: usize = 512;
/// A name in a path, with its NUL (`NAME_MAX` + 1).
pub const COMPONENT_BYTES: usize = 256;
/// What stands for "there is none" in `Exec::links` and `Exec::login_uid`, as in the kernel.
pub const NONE: u32 = u32::MAX;

/// Kinds of records; also the index of their counters.
pub mod kind {
    /// A program was executed: [`Exec`](super::Exec) and its texts.
    pub const EXEC: u32 = 0;
    /// A process was created: [`Fork`](super::Fork).
    pub const FORK: u32 = 1;
    /// A process ended: [`Exit`](super::Exit).
    pub const EXIT: u32 = 2;
    /// An outbound TCP connection was asked for: [`Flow`](super::Flow).
    pub const CONNECT: u32 = 3;
    /// An inbound TCP connection was accepted: [`Flow`](super::Flow).
    pub const ACCEPT: u32 = 4;
    /// A TCP socket began to listen: [`Flow`](super::Flow).
    pub const LISTEN: u32 = 5;
    /// UDP to a peer that is new to the process: [`Flow`](super::Flow).
    pub const DATAGRAM: u32 = 6;
    /// A TCP connection ended: [`Closed`](super::Closed).
    pub const CLOSE: u32 = 7;
    /// A question to a name server over UDP: [`Question`](super::Question) and the datagram's beginning.
    pub const QUESTION: u32 = 8;
    /// Something that changes what can be run or seen: [`Call`](super::Call) and its texts.
    pub const CALL: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
    /// No record, but the row of counters after the last kind: executables without a file that should have been held
    /// (attempted), of which so many were not because too many are (full), or for another reason (nested).
    pub const HOLD: u32 = COUNT;
    /// Their names, in order.
    pub const NAMES: [&str; 10] =
        ["exec", "fork", "exit", "connect", "accept", "listen", "datagram", "close", "question", "call"];
}

/// What the agent tells the probe before it is loaded, by index in the global `CONFIG`.
pub mod config {
    /// Inode number of the agent's own PID namespace.
    pub const NAMESPACE: usize = 0;
    /// Bytes in the ring from which on its reader is woken at once.
    pub const PRESSING: usize = 1;
    /// Not 0: an inode's name stands beside its parent in a dentry, and a mount's parent, point and root side by side.
    pub const JOINED: usize = 2;
    /// Not 0: a process whose executable has no file is stopped before its first instruction.
    pub const HOLD: usize = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// What a process asked the kernel for, by the number in [`Call::call`](super::Call).
pub mod call {
    /// None of interest.
    pub const NONE: u8 = 0;
    /// `accept`, `accept4`: told as an accept, not as a call.
    pub const ACCEPT: u8 = 1;
    /// `memfd_create`; first text: the file's name in the kernel.
    pub const MEMFD: u8 = 2;
    /// `ptrace`, attach or seize; numbers: the request, the pid as the caller wrote it.
    pub const PTRACE: u8 = 3;
    /// `process_vm_writev`; numbers: the pid as the caller wrote it, bytes written.
    pub const WRITE_MEMORY: u8 = 4;
    /// `bpf`, a program was loaded; first text: its name; numbers: its type, its id.
    pub const LOAD_PROGRAM: u8 = 5;
    /// A kernel module was loaded; first text: its name.
    pub const LOAD_MODULE: u8 = 6;
    /// `mount`; texts: what, where; numbers: flags.
    pub const MOUNT: u8 = 7;
    /// `umount2`; first text: what; numbers: flags.
    pub const UNMOUNT: u8 = 8;
    /// `move_mount`; texts: from, to.
    pub const MOVE_MOUNT: u8 = 9;
    /// `pivot_root`; texts: the new root, where the old one goes.
    pub const PIVOT_ROOT: u8 = 10;
    /// `unshare`; numbers: flags.
    pub const UNSHARE: u8 = 11;
    /// `setns`; numbers: flags.
    pub const SETNS: u8 = 12;
    /// `setuid`, `setreuid`, `setresuid`, when the caller is root afterwards.
    pub const BECOME: u8 = 13;
    /// `chmod`; numbers: the mode.
    pub const CHMOD: u8 = 14;
    /// `fchmod`; names of the file; numbers: the mode.
    pub const FCHMOD: u8 = 15;
    /// `fchmodat`, `fchmodat2`; numbers: the mode.
    pub const FCHMODAT: u8 = 16;
    /// `rename`; texts: from, to.
    pub const RENAME: u8 = 17;
    /// `renameat`, `renameat2`; texts: from, to.
    pub const RENAMEAT: u8 = 18;
    /// `unlink`.
    pub const UNLINK: u8 = 19;
    /// `unlinkat`.
    pub const UNLINKAT: u8 = 20;
    /// An io_uring was set up; numbers: flags, entries of the submission queue.
    pub const IO_URING: u8 = 21;
    /// System calls have smaller numbers.
    pub const TABLE: usize = 512;
}

/// What the agent and the probe tell each other while it runs, by index in the map `STATE`.
pub mod state {
    /// Not 0: the reader sleeps, and the next record must wake it.
    pub const IDLE: u32 = 0;
    /// The level of the agent's PID namespace, plus 1; 0 before it was learnt.
    pub const LEVEL: u32 = 1;
    /// Address of that namespace, once its level is known.
    pub const NAMESPACE: u32 = 2;
    /// When the agent last looked into the ring, on the boot-time clock, in ns.
    pub const HEARTBEAT: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
}

/// Processes that may be stopped at the same time.
pub const HELD_MOST: u32 = 64;
/// A heartbeat older than this, in ns: nobody is there to let a stopped process go.
pub const HEARTBEAT_OLD: u64 = 1_000_000_000;

/// A process that was stopped before its first instruction, by its pid in the agent's namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Held {
    /// Start of its group's leader on the boot-time clock, in ns.
    pub start: u64,
    /// When it was stopped, on the boot-time clock, in ns.
    pub time: u64,
}

/// What the probe did with the records of one kind on one cpu.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Count {
    /// Happenings in the agent's namespace that deserved a record.
    pub attempted: u64,
    /// Of these, not kept because the ring was full.
    pub full: u64,
    /// Of these, not kept because another record was being built on this cpu.
    pub nested: u64,
}

/// A process as the kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Process {
    /// Start of the group's leader on the boot-time clock, in ns; 0 with `pid` 0.
    pub start: u64,
    /// In the agent's PID namespace; 0 when the process is not in it.
    pub pid: u32,
    /// Always 0.
    pub zero: u32,
}

/// The beginning of every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// The cpu.
    pub cpu: u32,
    /// Number of the record on this cpu, from 0; lost ones are counted too.
    pub seq: u64,
    /// Boot-time clock, in ns.
    pub time: u64,
    /// Whom it concerns.
    pub process: Process,
}

/// Body of a fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Fork {
    /// Who forked.
    pub parent: Process,
    /// The short name.
    pub name: [u8; NAME_BYTES],
}

/// Body of an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Exit {
    /// As `wait` reports it: exit code << 8, or signal | 0x80 for a core dump.
    pub status: u32,
    /// Always 0.
    pub zero: u32,
}

/// Body of a connect, an accept, a listen, a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// `AF_INET` (the first four bytes of the addresses count) or `AF_INET6`.
    pub family: u16,
    /// Our port, network order.
    pub local_port: u16,
    /// Their port, network order.
    pub remote_port: u16,
    /// Always 0.
    pub zero: u16,
    /// Our address.
    pub local: [u8; 16],
    /// Their address.
    pub remote: [u8; 16],
}

impl Flow {
    /// Whether the peer is this host beyond doubt: a loopback address, or the very address it is reached from.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        const AF_INET: u16 = 2;
        let remote = u128::from_be_bytes(self.remote);
        let loopback = if self.family == AF_INET { self.remote[0] == 127 } else { remote == 1 };
        loopback || remote == u128::from_be_bytes(self.local)
    }
}

/// Body of the end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Closed {
    /// Which.
    pub flow: Flow,
    /// Bytes that we sent, those sent again not counted.
    pub sent: u64,
    /// Bytes that the other side sent; its end counts as one.
    pub received: u64,
}

/// Body of a question to a name server. After it, the datagram's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Question {
    /// From where to where.
    pub flow: Flow,
    /// Bytes of the datagram that follow.
    pub length: u32,
    /// Always 0.
    pub zero: u32,
}

/// Body of a call. After it, without gaps: the first text, the names of the first file's path where the kernel was asked
/// for it (from the leaf upwards, each with its NUL), the second text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// One of [`call`].
    pub call: u32,
    /// 1 for a call of a 32-bit program.
    pub compat: u32,
    /// What [`call`] says.
    pub numbers: [u64; 2],
    /// Effective user of the caller afterwards.
    pub uid: u32,
    /// Bytes of the first text, of the first file's names, of the second text; the last is always 0.
    pub lengths: [u16; 4],
    /// Bit 0: a relative first path does not start from the working directory but from another folder; bit 1: the second.
    pub elsewhere: u32,
}

/// The longest datagram's beginning that is taken.
pub const QUESTION_BYTES: usize = 256;

/// Bits of [`Exec::flags`].
pub mod flag {
    /// The arguments were longer than the probe takes, or could not be read whole.
    pub const ARGS_CUT: u32 = 1;
    /// The path of the executable: its upper end is missing.
    pub const EXECUTABLE_CUT: u32 = 2;
    /// The working directory: its upper end is missing.
    pub const DIRECTORY_CUT: u32 = 4;
    /// The cgroup's path: its upper end is missing.
    pub const CGROUP_CUT: u32 = 8;
    /// The cgroup's path is left out: an earlier record told it, with the same id.
    pub const CGROUP_TOLD: u32 = 16;
    /// The process was stopped before its first instruction, and waits for the agent.
    pub const HELD: u32 = 32;
    /// It should have been held, and was not.
    pub const NOT_HELD: u32 = 64;
}

/// Body of an exec. After it, without gaps: the file name, the arguments, and the names of the executable's path, of
/// the working directory's and of the cgroup's, from the leaf upwards, each name with its NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Exec {
    /// The parent's group leader.
    pub parent: Process,
    /// Inode number.
    pub inode: u64,
    /// Id of the cgroup in the v2 hierarchy; 0 where it could not be read.
    pub cgroup: u64,
    /// When the inode was last changed (ctime), in seconds since 1970.
    pub changed: i64,
    /// Nanoseconds of that; [`NONE`] where it could not be read.
    pub changed_ns: u32,
    /// The kernel's `s_dev`.
    pub device: u32,
    /// Link count, or [`NONE`].
    pub links: u32,
    /// Effective user.
    pub uid: u32,
    /// Real user, or [`NONE`].
    pub real_uid: u32,
    /// Effective group.
    pub gid: u32,
    /// audit's login user, or [`NONE`].
    pub login_uid: u32,
    /// Inode numbers of the namespaces.
    pub ns_pid: u32,
    /// Mounts.
    pub ns_mnt: u32,
    /// Network.
    pub ns_net: u32,
    /// Users.
    pub ns_user: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Bytes of the file name, without its NUL.
    pub filename_len: u16,
    /// Bytes of the arguments.
    pub args_len: u16,
    /// Bytes of the executable's names.
    pub executable_len: u16,
    /// Bytes of the working directory's names.
    pub directory_len: u16,
    /// Bytes of the cgroup's names.
    pub cgroup_len: u16,
    /// Always 0.
    pub zero: [u16; 3],
    /// The short name.
    pub name: [u8; NAME_BYTES],
}

// The layout is a contract between two compilations: a padding byte would be one the verifier refuses to copy.
const _: () = assert!(size_of::<Header>() == 40);
const _: () = assert!(size_of::<Fork>() == 32);
const _: () = assert!(size_of::<Exit>() == 8);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<Closed>() == 56);
const _: () = assert!(size_of::<Question>() == 48);
const _: () = assert!(size_of::<Call>() == 40);
const _: () = assert!(size_of::<Exec>() == 120);

#[cfg(test)]
mod tests {
    use super::Flow;

    fn v4(local: [u8; 4], remote: [u8; 4]) -> Flow {
        let mut flow = Flow { family: 2, ..Flow::default() };
        flow.local[..4].copy_from_slice(&local);
        flow.remote[..4].copy_from_slice(&remote);
        flow
    }

    fn v6(local: u128, remote: u128) -> Flow {
        Flow { family: 10, local: local.to_be_bytes(), remote: remote.to_be_bytes(), ..Flow::default() }
    }

    #[test]
    fn only_this_host_itself_is_local() {
        let host = 0x2001_0db8_u128 << 96 | 5;
        for flow in [v4([127, 0, 0, 1], [127, 0, 0, 2]), v4([192, 0, 2, 5], [192, 0, 2, 5])] {
            assert!(flow.is_local(), "{flow:?}");
        }
        assert!(v6(1, 1).is_local() && v6(host, host).is_local());
        for flow in [
            v4([192, 0, 2, 5], [192, 0, 2, 6]),
            v4([127, 0, 0, 1], [192, 0, 2, 6]),
            v4([0; 4], [192, 0, 2, 6]),
            v4([192, 0, 2, 5], [128, 0, 0, 1]),
            v4([192, 0, 2, 5], [0, 0, 0, 1]),
            v6(host, host + 1),
            v6(1, host),
            v6(host, 127 << 120 | 1),
        ] {
            assert!(!flow.is_local(), "{flow:?}");
        }
    }
}
