//! Which texts of the kernel are taken as they are.

/// A text of /proc, or of /sys where its path begins with that.
pub(super) struct Text {
    /// Below /proc, or from the root on.
    pub(super) path: &'static str,
    /// In the bag.
    pub(super) name: &'static str,
    /// Whether it is about the whole machine, whatever namespace one is in.
    pub(super) machine: bool,
    /// Whether a reader of memory needs it.
    pub(super) symbols: bool,
}

const fn text(path: &'static str, name: &'static str) -> Text {
    Text { path, name, machine: false, symbols: false }
}

const fn same(path: &'static str) -> Text {
    text(path, path)
}

const fn machine(path: &'static str) -> Text {
    of_machine(path, path)
}

const fn of_machine(path: &'static str, name: &'static str) -> Text {
    Text { machine: true, ..text(path, name) }
}

/// Small ones first.
pub(super) const TEXTS: &[Text] = &[
    same("version"),
    same("cmdline"),
    text("sys/kernel/tainted", "tainted"),
    text("sys/kernel/random/boot_id", "boot_id"),
    same("uptime"),
    same("loadavg"),
    text("self/mountinfo", "mountinfo"),
    same("cpuinfo"),
    same("meminfo"),
    same("vmstat"),
    same("stat"),
    same("filesystems"),
    same("crypto"),
    text("self/net/rpc/nfs", "rpc-nfs"),
    text("self/net/ip_tables_names", "ip_tables_names"),
    text("self/net/ip6_tables_names", "ip6_tables_names"),
    machine("modules"),
    machine("partitions"),
    machine("diskstats"),
    machine("swaps"),
    machine("mdstat"),
    machine("interrupts"),
    machine("devices"),
    machine("misc"),
    machine("ioports"),
    machine("slabinfo"),
    machine("locks"),
    machine("cgroups"),
    machine("consoles"),
    machine("keys"),
    of_machine("bus/input/devices", "input-devices"),
    of_machine("scsi/scsi", "scsi"),
    of_machine("driver/rtc", "rtc"),
    of_machine("fs/nfsd/exports", "nfsd-exports"),
    of_machine("spl/kstat/zfs/arcstats", "zfs-arcstats"),
    of_machine("/sys/firmware/dmi/tables/smbios_entry_point", "dmi-entry-point"),
    of_machine("/sys/firmware/dmi/tables/DMI", "dmi-table"),
    of_machine("/sys/kernel/security/lsm", "lsm"),
    of_machine("/sys/kernel/security/lockdown", "lockdown"),
    of_machine("/sys/kernel/security/apparmor/profiles", "apparmor-profiles"),
    of_machine("/sys/fs/selinux/enforce", "selinux-enforce"),
    Text { symbols: true, ..machine("iomem") },
    Text { symbols: true, ..machine("kallsyms") },
];
