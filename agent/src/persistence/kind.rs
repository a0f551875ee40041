//! Kinds of places.

use serde::Serialize;

/// What kind of place a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    SystemdUnit,
    SystemdDropIn,
    SystemdLink,
    SystemdGenerator,
    SystemdEnvironmentGenerator,
    Quadlet,
    Crontab,
    CronOfUser,
    CronScript,
    Anacrontab,
    At,
    InitScript,
    RunlevelLink,
    Inittab,
    Upstart,
    Inetd,
    Script,
    ShellStart,
    Environment,
    Autostart,
    DbusService,
    AuthorizedKeys,
    SshServer,
    SshClient,
    SshRc,
    Pam,
    Udev,
    Preload,
    LibraryPath,
    KernelModules,
    Modprobe,
    Sysctl,
    Initramfs,
    KernelHook,
    Apt,
    Dpkg,
    PackageHook,
    PackageAction,
    Git,
    GitHook,
    Motd,
    NetworkHook,
    NetworkInterfaces,
    Mail,
    SleepHook,
    Logrotate,
    Binfmt,
    Sudoers,
    Container,
    StaticPod,
    CloudInit,
    CloudScript,
    PythonPath,
    PythonSite,
}

impl Kind {
    /// Whether its files are run by themselves, and so only if they may be executed.
    pub(crate) fn is_program(self) -> bool {
        matches!(
            self,
            Self::SystemdGenerator
                | Self::SystemdEnvironmentGenerator
                | Self::CronScript
                | Self::InitScript
                | Self::Script
                | Self::Initramfs
                | Self::KernelHook
                | Self::GitHook
                | Self::Motd
                | Self::NetworkHook
                | Self::SleepHook
                | Self::CloudScript
        )
    }

    /// Whether its files are settings that administrators are expected to change.
    pub(crate) fn is_setting(self) -> bool {
        matches!(
            self,
            Self::SshServer
                | Self::SshClient
                | Self::Sudoers
                | Self::Logrotate
                | Self::Pam
                | Self::Sysctl
                | Self::LibraryPath
                | Self::KernelModules
                | Self::NetworkInterfaces
                | Self::Apt
                | Self::CloudInit
                | Self::Environment
                | Self::Anacrontab
                | Self::Mail
        )
    }

    /// What is odd about it where no package brought the file: there is hardly an honest use.
    pub(crate) fn odd_if_foreign(self) -> Option<&'static str> {
        match self {
            Self::Preload => Some("is loaded into every program"),
            Self::SystemdGenerator | Self::SystemdEnvironmentGenerator => {
                Some("a generator that no package brought")
            }
            Self::PythonSite => Some("runs at every start of Python, and no package brought it"),
            _ => None,
        }
    }

    /// Whether a target that is missing means something: shells ask first whether a file is there.
    pub(crate) fn needs_target(self) -> bool {
        !matches!(
            self,
            Self::ShellStart
                | Self::Environment
                | Self::Pam
                | Self::SystemdLink
                | Self::RunlevelLink
                | Self::LibraryPath
                | Self::Sudoers
                | Self::KernelModules
                | Self::Container
                | Self::StaticPod
                | Self::Quadlet
                | Self::Git
                | Self::CloudInit
                | Self::Mail
                | Self::Modprobe
        )
    }
}
