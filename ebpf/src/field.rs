//! The one table of kernel fields. Nothing else in the tree names an offset of the kernel.
//!
//! The agent resolves each path in the running kernel's BTF, strictly (size, no bitfield, no ambiguity), and hands the
//! offsets to the probe as one read-only global, by index.

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Who needs a field: without it these programs are not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Every program.
    Core,
    /// Exec.
    Exec,
    /// Exit.
    Exit,
    /// TCP connect, listen, accept.
    Tcp,
    /// What a process asks for, by its system calls.
    Call,
    /// Questions to name servers.
    Question,
    /// Kernel modules.
    Module,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// Nobody: a part of the record stays empty without it.
    Optional,
}

/// What is looked for behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A member of exactly this many bytes.
    Size(u32),
    /// A member of this many bytes at this offset: the probe reads it together with its neighbours.
    At(u32, u32),
    /// A number of four or eight bytes, of which the lower four count.
    Number,
    /// A member of any size: an array whose length is not fixed, a structure that is only a way to others.
    Offset,
    /// The structure itself has this many bytes; there is no offset.
    Whole(u32),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which.
    pub field: Field,
    /// Who needs it.
    pub group: Group,
    /// What must be found.
    pub expect: Expect,
    /// `structure.member.member`; the first that exists counts, newest spelling first.
    pub paths: &'static [&'static str],
}

macro_rules! fields {
    ($($name:ident $group:ident $expect:expr, $($path:literal)|+;)*) => {
        /// A field of the kernel, by its index in the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Field {$(
            #[doc = concat!("`", $($path, "` ",)+ "")]
            $name,
        )*}

        /// The table, in the order of [`Field`].
        pub const TABLE: &[Spec] = &[$(
            Spec { field: Field::$name, group: Group::$group, expect: $expect, paths: &[$($path),+] },
        )*];
    };
}

use Expect::{At, Number, Offset, Size, Whole};

fields! {
    TaskLeader      Core Size(8), "task_struct.group_leader";
    TaskPid         Core Size(8), "task_struct.thread_pid";
    TaskStart       Core Size(8), "task_struct.start_boottime" | "task_struct.real_start_time"; // 5.5
    TaskName        Core Size(16), "task_struct.comm";
    PidLevel        Core Size(4), "pid.level";
    PidNumbers      Core Offset, "pid.numbers"; // flexible since 6.5
    Upid            Core Whole(16), "upid";
    UpidNr          Core At(4, 0), "upid.nr";
    UpidNs          Core At(8, 8), "upid.ns";
    PidNsInum       Core Size(4), "pid_namespace.ns.inum";

    TaskParent      Exec Size(8), "task_struct.real_parent";
    TaskMm          Exec Size(8), "task_struct.mm";
    TaskCred        Exec Size(8), "task_struct.cred";
    MmArgStart      Exec Size(8), "mm_struct.arg_start";
    MmArgEnd        Exec Size(8), "mm_struct.arg_end";
    MmExeFile       Exec Size(8), "mm_struct.exe_file";
    BprmFilename    Exec Size(8), "linux_binprm.filename";
    FilePath        Exec Size(16), "file.f_path";
    PathMnt         Exec At(8, 0), "path.mnt";
    PathDentry      Exec At(8, 8), "path.dentry";
    FileInode       Exec Size(8), "file.f_inode";
    InodeNumber     Exec Size(8), "inode.i_ino";
    InodeSuper      Exec Size(8), "inode.i_sb";
    SuperDevice     Exec Size(4), "super_block.s_dev";
    DentryParent    Exec Size(8), "dentry.d_parent";
    DentryName      Exec Size(8), "dentry.d_name.name";
    VfsmountRoot    Exec Size(8), "vfsmount.mnt_root";
    MountVfsmount   Exec Offset, "mount.mnt";
    MountParent     Exec Size(8), "mount.mnt_parent";
    MountPoint      Exec Size(8), "mount.mnt_mountpoint";
    CredUid         Exec Size(4), "cred.euid";
    CredGid         Exec Size(4), "cred.egid";

    InodeLinks      Optional Size(4), "inode.i_nlink";
    InodeChanged    Optional Size(8), "inode.i_ctime_sec" | "inode.__i_ctime.tv_sec" | "inode.i_ctime.tv_sec"; // 6.11, 6.6
    InodeChangedNs  Optional Number, "inode.i_ctime_nsec" | "inode.__i_ctime.tv_nsec" | "inode.i_ctime.tv_nsec";
    CredRealUid     Optional Size(4), "cred.uid";
    SignalTty       Optional Size(8), "signal_struct.tty";
    TaskFs          Optional Size(8), "task_struct.fs";
    FsPwd           Optional Size(16), "fs_struct.pwd";
    TaskLoginUid    Optional Size(4), "task_struct.loginuid";
    TaskCgroups     Optional Size(8), "task_struct.cgroups";
    CssSetDefault   Optional Size(8), "css_set.dfl_cgrp";
    CgroupNode      Optional Size(8), "cgroup.kn";
    NodeId          Optional Size(8), "kernfs_node.id";
    NodeParent      Optional Size(8), "kernfs_node.__parent" | "kernfs_node.parent"; // 6.15
    NodeName        Optional Size(8), "kernfs_node.name";
    TaskNsproxy     Optional Size(8), "task_struct.nsproxy";
    NsproxyMnt      Optional Size(8), "nsproxy.mnt_ns";
    NsproxyNet      Optional Size(8), "nsproxy.net_ns";
    MntNsInum       Optional Size(4), "mnt_namespace.ns.inum";
    NetNsInum       Optional Size(4), "net.ns.inum";
    CredUserNs      Optional Size(8), "cred.user_ns";
    UserNsInum      Optional Size(4), "user_namespace.ns.inum";

    TaskSignal      Exit Size(8), "task_struct.signal";
    TaskExitCode    Exit Size(4), "task_struct.exit_code";
    SignalLive      Exit Size(4), "signal_struct.live";
    SignalFlags     Exit Size(4), "signal_struct.flags";
    SignalGroupCode Exit Size(4), "signal_struct.group_exit_code";

    SockFamily      Tcp Size(2), "sock.__sk_common.skc_family";
    SockProtocol    Tcp Size(2), "sock.sk_protocol";
    SockRemote4     Tcp Size(4), "sock.__sk_common.skc_daddr";
    SockLocal4      Tcp Size(4), "sock.__sk_common.skc_rcv_saddr";
    SockRemotePort  Tcp Size(2), "sock.__sk_common.skc_dport";
    SockLocalPort   Tcp Size(2), "sock.__sk_common.skc_num";
    SockRemote6     Optional Size(16), "sock.__sk_common.skc_v6_daddr";
    SockLocal6      Optional Size(16), "sock.__sk_common.skc_v6_rcv_saddr";

    SockPort        Optional Size(2), "inet_sock.inet_sport";
    SockBytesSent   Optional Size(8), "tcp_sock.bytes_sent"; // 4.19
    SockBytesAgain  Optional Size(8), "tcp_sock.bytes_retrans";
    SockBytesGot    Optional Size(8), "tcp_sock.bytes_received";

    RegsSyscall     Call Size(8), "pt_regs.orig_ax";
    RegsFirst       Call Size(8), "pt_regs.di";
    RegsSecond      Call Size(8), "pt_regs.si";
    RegsThird       Call Size(8), "pt_regs.dx";
    RegsFourth      Call Size(8), "pt_regs.r10";
    RegsBx          Call Size(8), "pt_regs.bx";
    RegsCx          Call Size(8), "pt_regs.cx";
    TaskStatus      Call Size(4), "task_struct.thread_info.status";
    TaskFiles       Call Size(8), "task_struct.files";
    FilesTable      Call Size(8), "files_struct.fdt";
    TableMost       Call Size(4), "fdtable.max_fds";
    TableFiles      Call Size(8), "fdtable.fd";
    FilePrivate     Call Size(8), "file.private_data";
    SocketSock      Call Size(8), "socket.sk";
    ProgramType     Optional Size(4), "bpf_prog.type";
    ProgramAux      Optional Size(8), "bpf_prog.aux";
    ProgramId       Optional Size(4), "bpf_prog_aux.id";
    ProgramName     Optional Size(16), "bpf_prog_aux.name";

    ModuleName      Module Offset, "module.name";

    SkbHead         Question Size(8), "sk_buff.head";
    SkbNetwork      Question Size(2), "sk_buff.network_header";
    SkbTransport    Question Size(2), "sk_buff.transport_header";
    SkbProtocol     Question Size(2), "sk_buff.protocol";
    SkbSock         Question Size(8), "sk_buff.sk";

    Flow4Iif        Udp4 Size(4), "flowi4.__fl_common.flowic_iif";
    Flow4Protocol   Udp4 Size(1), "flowi4.__fl_common.flowic_proto";
    Flow4Local      Udp4 Size(4), "flowi4.saddr";
    Flow4Remote     Udp4 Size(4), "flowi4.daddr";
    Flow4RemotePort Udp4 Size(2), "flowi4.uli.ports.dport";
    Flow4LocalPort  Udp4 Size(2), "flowi4.uli.ports.sport";
    Flow6Iif        Udp6 Size(4), "flowi6.__fl_common.flowic_iif";
    Flow6Protocol   Udp6 Size(1), "flowi6.__fl_common.flowic_proto";
    Flow6Local      Udp6 Size(16), "flowi6.saddr";
    Flow6Remote     Udp6 Size(16), "flowi6.daddr";
    Flow6RemotePort Udp6 Size(2), "flowi6.uli.ports.dport";
    Flow6LocalPort  Udp6 Size(2), "flowi6.uli.ports.sport";
}

/// How many fields there are.
pub const COUNT: usize = TABLE.len();

impl Field {
    /// Its place in the table.
    #[expect(clippy::as_conversions, reason = "the discriminant of a fieldless enum, which From cannot give")]
    pub const fn index(self) -> usize {
        self as usize
    }
}
