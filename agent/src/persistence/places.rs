//! Where the files are from which programs start again: patterns as definitions have them, and what the files are.

use super::Kind;

/// One pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) pattern: &'static str,
    /// When a whole file of it is run; empty where its lines say.
    pub(crate) when: &'static str,
}

macro_rules! places {
    ($($kind:ident, $when:literal: $($pattern:literal)+;)+) => {
        &[$($(Place { kind: Kind::$kind, pattern: $pattern, when: $when },)+)+]
    };
}

/// All of them. A later pattern does not take a file again that an earlier one took as the same kind.
pub(crate) const PLACES: &[Place] = places! {
    SystemdUnit, "":
        "/etc/systemd/system/*.*" "/etc/systemd/user/*.*" "/run/systemd/system/*.*" "/run/systemd/user/*.*"
        "/usr/local/lib/systemd/system/*.*" "/usr/local/lib/systemd/user/*.*" "/usr/lib/systemd/system/*.*"
        "/usr/lib/systemd/user/*.*" "/lib/systemd/system/*.*" "/usr/local/share/systemd/user/*.*"
        "/usr/share/systemd/user/*.*" "/etc/systemd/system.control/*.*" "/etc/systemd/system.attached/*.*"
        "/run/systemd/transient/*.*" "/run/systemd/generator/*.*" "/run/systemd/generator.early/*.*"
        "/run/systemd/generator.late/*.*" "%%users.homedir%%/.config/systemd/user/*.*"
        "%%users.homedir%%/.local/share/systemd/user/*.*" "%%users.homedir%%/.config/systemd/user.control/*.*";
    SystemdDropIn, "":
        "/etc/systemd/system/*.d/*.conf" "/etc/systemd/user/*.d/*.conf" "/run/systemd/system/*.d/*.conf"
        "/usr/local/lib/systemd/system/*.d/*.conf" "/usr/lib/systemd/system/*.d/*.conf"
        "/lib/systemd/system/*.d/*.conf" "/usr/lib/systemd/user/*.d/*.conf"
        "/etc/systemd/system.control/*.d/*.conf" "%%users.homedir%%/.config/systemd/user/*.d/*.conf"
        "%%users.homedir%%/.local/share/systemd/user/*.d/*.conf";
    SystemdLink, "":
        "/etc/systemd/system/*.*" "/etc/systemd/user/*.*" "/etc/systemd/system/*.wants/*" "/etc/systemd/system/*.requires/*"
        "/etc/systemd/system/*.upholds/*" "/etc/systemd/user/*.wants/*" "/etc/systemd/user/*.requires/*"
        "/run/systemd/system/*.wants/*" "/run/systemd/generator/*.wants/*" "/run/systemd/generator.late/*.wants/*"
        "/usr/local/lib/systemd/system/*.wants/*" "%%users.homedir%%/.config/systemd/user/*.*"
        "%%users.homedir%%/.config/systemd/user/*.wants/*" "%%users.homedir%%/.config/systemd/user/*.requires/*"
        "%%users.homedir%%/.local/share/systemd/user/*.wants/*";
    SystemdGenerator, "at every boot, and when systemd reads its units again":
        "/etc/systemd/system-generators/*" "/run/systemd/system-generators/*" "/usr/local/lib/systemd/system-generators/*"
        "/usr/lib/systemd/system-generators/*" "/lib/systemd/system-generators/*" "/etc/systemd/user-generators/*"
        "/usr/local/lib/systemd/user-generators/*" "/usr/lib/systemd/user-generators/*"
        "%%users.homedir%%/.config/systemd/user-generators/*";
    SystemdEnvironmentGenerator, "when a systemd manager starts":
        "/etc/systemd/system-environment-generators/*" "/usr/local/lib/systemd/system-environment-generators/*"
        "/usr/lib/systemd/system-environment-generators/*" "/etc/systemd/user-environment-generators/*"
        "/usr/local/lib/systemd/user-environment-generators/*" "/usr/lib/systemd/user-environment-generators/*";
    Quadlet, "":
        "/etc/containers/systemd/*.container" "/usr/share/containers/systemd/*.container"
        "%%users.homedir%%/.config/containers/systemd/*.container";
    Crontab, "": "/etc/crontab" "/etc/cron.d/*" "/usr/lib/cron.d/*";
    CronOfUser, "": "/var/spool/cron/crontabs/*" "/var/spool/cron/tabs/*" "/var/spool/cron/*" "/etc/crontabs/*";
    CronScript, "hourly": "/etc/cron.hourly/*" "/etc/periodic/hourly/*";
    CronScript, "daily": "/etc/cron.daily/*" "/etc/periodic/daily/*";
    CronScript, "weekly": "/etc/cron.weekly/*" "/etc/periodic/weekly/*";
    CronScript, "monthly": "/etc/cron.monthly/*" "/etc/cron.yearly/*" "/etc/periodic/monthly/*";
    CronScript, "every 15 minutes": "/etc/periodic/15min/*";
    Anacrontab, "": "/etc/anacrontab";
    At, "": "/var/spool/cron/atjobs/*" "/var/spool/at/*" "/var/spool/atjobs/*";
    Script, "at boot (rc.local)": "/etc/rc.local" "/etc/rc.d/rc.local" "/etc/init.d/boot.local" "/etc/init.d/after.local";
    Script, "at boot (OpenRC)": "/etc/local.d/*.start";
    Script, "at boot (runit)": "/etc/service/*/run" "/etc/sv/*/run";
    InitScript, "at the runlevels that link to it": "/etc/init.d/*" "/etc/rc.d/init.d/*";
    RunlevelLink, "": "/etc/rc?.d/*" "/etc/rc.d/rc?.d/*" "/etc/runlevels/*/*";
    Inittab, "": "/etc/inittab";
    Upstart, "": "/etc/init/*.conf" "%%users.homedir%%/.config/upstart/*.conf";
    Inetd, "": "/etc/inetd.conf" "/etc/xinetd.conf" "/etc/xinetd.d/*";
    ShellStart, "when a login shell starts":
        "/etc/profile" "/etc/profile.d/*" "/etc/zsh/zprofile" "/etc/zsh/zlogin" "/etc/zprofile" "/etc/csh.login" "/etc/zlogin"
        "/etc/csh/login.d/*" "%%users.homedir%%/.profile" "%%users.homedir%%/.bash_profile"
        "%%users.homedir%%/.bash_login" "%%users.homedir%%/.zprofile" "%%users.homedir%%/.zlogin"
        "%%users.homedir%%/.login";
    ShellStart, "when an interactive shell starts":
        "/etc/bash.bashrc" "/etc/bashrc" "/etc/zsh/zshrc" "/etc/zshrc" "/etc/ksh.kshrc" "/etc/mkshrc"
        "%%users.homedir%%/.bashrc" "%%users.homedir%%/.bash_aliases" "%%users.homedir%%/.zshrc"
        "%%users.homedir%%/.kshrc" "%%users.homedir%%/.mkshrc" "%%users.homedir%%/.shrc";
    ShellStart, "when any shell of this kind starts":
        "/etc/zsh/zshenv" "/etc/zshenv" "/etc/csh.cshrc" "/etc/csh/cshrc.d/*" "/etc/fish/config.fish" "/etc/fish/conf.d/*.fish"
        "/usr/share/fish/vendor_conf.d/*.fish" "%%users.homedir%%/.zshenv" "%%users.homedir%%/.cshrc"
        "%%users.homedir%%/.tcshrc" "%%users.homedir%%/.config/fish/config.fish"
        "%%users.homedir%%/.config/fish/conf.d/*.fish" "%%users.homedir%%/.config/nushell/*.nu";
    ShellStart, "when a login shell ends":
        "/etc/bash.bash_logout" "/etc/zsh/zlogout" "/etc/zlogout" "/etc/csh.logout" "%%users.homedir%%/.bash_logout"
        "%%users.homedir%%/.zlogout" "%%users.homedir%%/.logout";
    ShellStart, "for every new user": "/etc/skel/.*";
    ShellStart, "when a graphical session begins":
        "/etc/X11/Xsession" "/etc/X11/Xsession.d/*" "/etc/X11/xinit/xinitrc" "/etc/X11/xinit/xinitrc.d/*" "/etc/xprofile"
        "%%users.homedir%%/.xinitrc" "%%users.homedir%%/.xprofile" "%%users.homedir%%/.xsession"
        "%%users.homedir%%/.xsessionrc" "%%users.homedir%%/.config/plasma-workspace/env/*"
        "%%users.homedir%%/.config/autostart-scripts/*" "%%users.homedir%%/.config/openbox/autostart"
        "%%users.homedir%%/.config/lxsession/*/autostart";
    ShellStart, "when dhclient takes an address":
        "/etc/dhcp/dhclient-enter-hooks" "/etc/dhcp/dhclient-exit-hooks" "/etc/dhcp/dhclient-enter-hooks.d/*"
        "/etc/dhcp/dhclient-exit-hooks.d/*";
    Environment, "with every session":
        "/etc/environment" "/etc/environment.d/*.conf" "/usr/lib/environment.d/*.conf" "/etc/security/pam_env.conf"
        "/etc/default/locale" "%%users.homedir%%/.pam_environment" "%%users.homedir%%/.config/environment.d/*.conf"
        "%%users.homedir%%/.ssh/environment";
    Autostart, "":
        "/etc/xdg/autostart/*.desktop" "/usr/share/autostart/*.desktop" "/usr/share/gnome/autostart/*.desktop"
        "/usr/local/etc/xdg/autostart/*.desktop" "%%users.homedir%%/.config/autostart/*.desktop";
    DbusService, "":
        "/usr/share/dbus-1/system-services/*.service" "/usr/share/dbus-1/services/*.service"
        "/etc/dbus-1/system-services/*.service" "/usr/local/share/dbus-1/system-services/*.service"
        "/usr/local/share/dbus-1/services/*.service" "%%users.homedir%%/.local/share/dbus-1/services/*.service";
    AuthorizedKeys, "":
        "%%users.homedir%%/.ssh/authorized_keys" "%%users.homedir%%/.ssh/authorized_keys2" "/etc/ssh/authorized_keys/*"
        "/etc/ssh/authorized_keys.d/*" "/etc/dropbear/authorized_keys";
    SshServer, "": "/etc/ssh/sshd_config" "/etc/ssh/sshd_config.d/*.conf";
    SshClient, "": "/etc/ssh/ssh_config" "/etc/ssh/ssh_config.d/*.conf" "%%users.homedir%%/.ssh/config";
    SshRc, "at every login by ssh": "/etc/ssh/sshrc" "%%users.homedir%%/.ssh/rc";
    Pam, "": "/etc/pam.conf" "/etc/pam.d/*" "/usr/lib/pam.d/*";
    Udev, "": "/etc/udev/rules.d/*.rules" "/run/udev/rules.d/*.rules" "/usr/local/lib/udev/rules.d/*.rules"
        "/usr/lib/udev/rules.d/*.rules" "/lib/udev/rules.d/*.rules";
    Preload, "": "/etc/ld.so.preload";
    LibraryPath, "": "/etc/ld.so.conf" "/etc/ld.so.conf.d/*.conf";
    KernelModules, "": "/etc/modules" "/etc/modules-load.d/*.conf" "/usr/lib/modules-load.d/*.conf"
        "/usr/local/lib/modules-load.d/*.conf" "/run/modules-load.d/*.conf" "/etc/initramfs-tools/modules";
    Modprobe, "": "/etc/modprobe.d/*.conf" "/usr/lib/modprobe.d/*.conf" "/lib/modprobe.d/*.conf"
        "/usr/local/lib/modprobe.d/*.conf" "/run/modprobe.d/*.conf" "/etc/modprobe.conf";
    Sysctl, "": "/etc/sysctl.conf" "/etc/sysctl.d/*.conf" "/usr/lib/sysctl.d/*.conf" "/run/sysctl.d/*.conf"
        "/usr/local/lib/sysctl.d/*.conf";
    Initramfs, "when an initramfs is built": "/etc/initramfs-tools/hooks/*" "/usr/share/initramfs-tools/hooks/*"
        "/usr/lib/dracut/modules.d/*/module-setup.sh" "/etc/dracut.conf.d/*.sh";
    Initramfs, "in the initramfs, before the root is mounted": "/etc/initramfs-tools/scripts/**2"
        "/usr/share/initramfs-tools/scripts/**2";
    KernelHook, "when a kernel is installed or removed": "/etc/kernel/*.d/*" "/usr/lib/kernel/install.d/*";
    Apt, "": "/etc/apt/apt.conf" "/etc/apt/apt.conf.d/*";
    Dpkg, "": "/etc/dpkg/dpkg.cfg" "/etc/dpkg/dpkg.cfg.d/*" "/root/.dpkg.cfg";
    PackageHook, "with every run of dnf or yum": "/usr/lib/python3*/site-packages/dnf-plugins/*.py"
        "/usr/lib/yum-plugins/*.py" "/usr/share/yum-plugins/*.py";
    PackageHook, "with every run of apk": "/etc/apk/commit_hooks.d/*";
    PackageAction, "": "/etc/dnf/plugins/post-transaction-actions.d/*.action"
        "/etc/dnf/libdnf5-plugins/actions.d/*.actions" "/etc/pacman.d/hooks/*.hook" "/usr/share/libalpm/hooks/*.hook";
    Git, "": "/etc/gitconfig" "%%users.homedir%%/.gitconfig" "%%users.homedir%%/.config/git/config";
    GitHook, "by git, in every repository that is made from now on": "/usr/share/git-core/templates/hooks/*";
    Motd, "at every login (message of the day)": "/etc/update-motd.d/*" "/usr/share/update-motd/*";
    NetworkHook, "when the network changes (NetworkManager)": "/etc/NetworkManager/dispatcher.d/**2"
        "/usr/lib/NetworkManager/dispatcher.d/**2";
    NetworkHook, "when a network interface goes up or down": "/etc/network/if-up.d/*" "/etc/network/if-pre-up.d/*"
        "/etc/network/if-down.d/*" "/etc/network/if-post-down.d/*" "/etc/networkd-dispatcher/*.d/*"
        "/usr/lib/networkd-dispatcher/*.d/*" "/etc/ppp/ip-up" "/etc/ppp/ip-up.d/*" "/etc/ppp/ip-down.d/*"
        "/etc/resolvconf/update.d/*" "/etc/wpa_supplicant/action_wpa.sh" "/etc/dhcp/dhclient.d/*.sh";
    NetworkInterfaces, "": "/etc/network/interfaces" "/etc/network/interfaces.d/*";
    Mail, "": "/etc/aliases" "%%users.homedir%%/.forward";
    SleepHook, "when the machine sleeps, wakes or shuts down": "/etc/systemd/system-sleep/*"
        "/usr/lib/systemd/system-sleep/*" "/usr/lib/systemd/system-shutdown/*" "/etc/systemd/system-shutdown/*"
        "/etc/pm/sleep.d/*" "/usr/lib/pm-utils/sleep.d/*" "/etc/acpi/*.sh";
    Logrotate, "": "/etc/logrotate.conf" "/etc/logrotate.d/*";
    Binfmt, "": "/etc/binfmt.d/*.conf" "/usr/lib/binfmt.d/*.conf" "/run/binfmt.d/*.conf" "/var/lib/binfmts/*";
    Sudoers, "": "/etc/sudoers" "/etc/sudoers.d/*" "/etc/doas.conf" "/etc/doas.d/*.conf";
    Container, "": "/var/lib/docker/containers/*/config.v2.json";
    StaticPod, "": "/etc/kubernetes/manifests/*.yaml";
    CloudInit, "": "/etc/cloud/cloud.cfg" "/etc/cloud/cloud.cfg.d/*.cfg" "/var/lib/cloud/instances/*/user-data.txt"
        "/var/lib/cloud/instances/*/vendor-data.txt" "/var/lib/cloud/instances/*/cloud-config.txt";
    CloudScript, "at every boot (cloud-init)": "/var/lib/cloud/scripts/per-boot/*";
    CloudScript, "once for each instance (cloud-init)": "/var/lib/cloud/scripts/per-instance/*"
        "/var/lib/cloud/scripts/per-once/*" "/var/lib/cloud/instances/*/scripts/*";
    PythonSite, "at every start of Python": "/usr/lib/python3*/sitecustomize.py" "/usr/lib/python3*/usercustomize.py"
        "/usr/lib/python3*/dist-packages/*customize.py" "/usr/lib/python3*/site-packages/*customize.py"
        "/usr/local/lib/python3*/dist-packages/*customize.py" "/usr/local/lib/python3*/site-packages/*customize.py"
        "/etc/python3*/sitecustomize.py" "%%users.homedir%%/.local/lib/python3*/site-packages/*customize.py";
    PythonPath, "": "/usr/lib/python3*/dist-packages/*.pth" "/usr/lib/python3*/site-packages/*.pth"
        "/usr/lib64/python3*/site-packages/*.pth" "/usr/local/lib/python3*/dist-packages/*.pth"
        "/usr/local/lib/python3*/site-packages/*.pth" "%%users.homedir%%/.local/lib/python3*/site-packages/*.pth";
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::Pattern;

    #[test]
    fn every_pattern_is_one_and_every_whole_file_says_when() {
        for place in PLACES {
            Pattern::parse(place.pattern.as_bytes()).unwrap();
            let whole = place.kind.is_program() || place.kind == Kind::ShellStart;
            assert!(!whole || !place.when.is_empty(), "{}", place.pattern);
        }
    }
}
