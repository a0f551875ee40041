//! The places from which a Linux program can start again, read: which command, as whom, when. Pure: a file's bytes
//! in, what it starts out. Nothing is run, and nothing else is opened.

mod apt;
mod at;
mod binfmt;
mod cloud;
pub(crate) mod command;
mod container;
mod cron;
mod desktop;
mod git;
mod grammar;
mod init;
mod kind;
pub(crate) mod lines;
mod loader;
mod logrotate;
mod modules;
mod network;
mod pam;
pub(crate) mod places;
mod python;
pub(crate) mod reasons;
mod shell;
mod ssh;
mod sudoers;
mod systemd;
mod udev;

pub(crate) use kind::Kind;

/// What one file may start; more are not told.
pub(crate) const STARTS_MAX: usize = 2_000;

/// One file of a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) kind: Kind,
    /// Where it lies on the host.
    pub(crate) path: &'a [u8],
    pub(crate) text: &'a [u8],
    /// Whose home it lies in, and that home; `None` for the host's own.
    pub(crate) user: Option<(&'a [u8], &'a [u8])>,
    /// When a whole file of this place is run, in words.
    pub(crate) when: &'a str,
    /// Of a container: its other file.
    pub(crate) beside: &'a [u8],
}

/// As whom something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// This user.
    User(Vec<u8>),
    /// Every user to whom it happens.
    Everybody,
    /// Whoever this unit of systemd runs as.
    Unit(Vec<u8>),
}

/// Something that is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The line that says so; 0 where the whole file is meant.
    pub(crate) line: u32,
    pub(crate) who: Who,
    /// The command, or the path.
    pub(crate) what: Vec<u8>,
    /// The program, script or library in it: a path, or a name that is looked for.
    pub(crate) target: Option<Vec<u8>>,
    /// Schedule or event, in words.
    pub(crate) when: String,
    /// What is odd about it by itself.
    pub(crate) odd: Vec<&'static str>,
}

impl<'a> Source<'a> {
    /// The home's owner, or root.
    fn owner(&self) -> Who {
        Who::User(self.user.map_or(b"root".to_vec(), |(name, _)| name.to_vec()))
    }

    /// The home's owner, or every user.
    fn everybody(&self) -> Who {
        self.user.map_or(Who::Everybody, |(name, _)| Who::User(name.to_vec()))
    }

    fn home(&self) -> &'a [u8] {
        self.user.map_or(b"", |(_, home)| home)
    }

    /// A command of this file.
    fn command(&self, line: u32, who: Who, what: &[u8], when: impl Into<String>) -> Start {
        Start {
            line,
            who,
            what: what.to_vec(),
            target: command::target(what, self.home()),
            when: when.into(),
            odd: reasons::of_command(what, self.home()),
        }
    }

    /// Something that is no command line.
    fn thing(
        &self,
        line: u32,
        who: Who,
        what: &[u8],
        target: Option<&[u8]>,
        when: impl Into<String>,
    ) -> Start {
        let target = target.map(|path| command::expanded(path, self.home()));
        let odd = target.as_deref().map(|path| reasons::of_path(path, false)).unwrap_or_default();
        Start { line, who, what: what.to_vec(), target, when: when.into(), odd }
    }

    /// The file itself.
    fn whole(&self, who: Who) -> Start {
        // Shells read hidden files of every home.
        let sourced = !self.kind.is_program();
        let odd = reasons::of_path(self.path, sourced);
        Start { odd, ..self.thing(0, who, self.path, Some(self.path), self.when) }
    }
}

/// All that the file starts.
pub(crate) fn starts(source: &Source<'_>) -> Vec<Start> {
    let mut all = match source.kind {
        Kind::SystemdUnit | Kind::SystemdDropIn => systemd::unit(source),
        Kind::Quadlet => systemd::quadlet(source),
        Kind::Crontab => cron::table(source, true),
        Kind::CronOfUser => cron::table(source, false),
        Kind::Anacrontab => cron::anacron(source),
        Kind::At => at::job(source),
        Kind::Inittab => init::inittab(source),
        Kind::Upstart => init::upstart(source),
        Kind::Inetd => init::inetd(source),
        Kind::ShellStart => shell::start(source),
        Kind::Environment => shell::environment(source),
        Kind::Autostart => desktop::entry(source),
        Kind::DbusService => desktop::service(source),
        Kind::AuthorizedKeys => ssh::keys(source),
        Kind::SshServer => ssh::server(source),
        Kind::SshClient => ssh::client(source),
        Kind::Pam => pam::stack(source),
        Kind::Udev => udev::rules(source),
        Kind::Preload => loader::preload(source),
        Kind::LibraryPath => loader::folders(source),
        Kind::KernelModules => modules::list(source),
        Kind::Modprobe => modules::modprobe(source),
        Kind::Sysctl => modules::sysctl(source),
        Kind::Apt => apt::hooks(source),
        Kind::Dpkg => apt::dpkg(source),
        Kind::PackageAction => apt::action(source),
        Kind::Git => git::config(source),
        Kind::NetworkInterfaces => network::interfaces(source),
        Kind::Mail => network::mail(source),
        Kind::Logrotate => logrotate::scripts(source),
        Kind::Binfmt => binfmt::formats(source),
        Kind::Sudoers => sudoers::rules(source),
        Kind::Container => container::docker(source),
        Kind::StaticPod => container::pod(source),
        Kind::CloudInit => cloud::config(source),
        Kind::PythonPath => python::path(source),
        Kind::PythonSite => vec![source.whole(source.everybody())],
        Kind::SystemdGenerator
        | Kind::SystemdEnvironmentGenerator
        | Kind::CronScript
        | Kind::InitScript
        | Kind::Script
        | Kind::SshRc
        | Kind::Initramfs
        | Kind::KernelHook
        | Kind::PackageHook
        | Kind::GitHook
        | Kind::Motd
        | Kind::NetworkHook
        | Kind::SleepHook
        | Kind::CloudScript => shell::script(source),
        // A link is told by whoever finds it.
        Kind::SystemdLink | Kind::RunlevelLink => Vec::new(),
    };
    all.truncate(STARTS_MAX);
    all
}

/// Patterns of further files of the same kind that this one names.
pub(crate) fn includes(source: &Source<'_>) -> Vec<Vec<u8>> {
    match source.kind {
        Kind::SshServer | Kind::SshClient => ssh::includes(source),
        Kind::Sudoers => sudoers::includes(source),
        Kind::LibraryPath | Kind::Logrotate => loader::includes(source),
        Kind::Git => git::includes(source),
        _ => Vec::new(),
    }
}

/// What is told of a link, found at `path`, to `target`: what starts by it.
pub(crate) fn link(kind: Kind, path: &[u8], target: &[u8], user: Option<&[u8]>) -> Option<Start> {
    let (who, when) = match kind {
        Kind::SystemdLink => systemd::link(path, target)?,
        Kind::RunlevelLink => (Who::User(b"root".to_vec()), init::runlevel(path)?),
        _ => return None,
    };
    let who = match (user, who) {
        (Some(user), _) => Who::User(user.to_vec()),
        (None, who) => who,
    };
    let (what, target) = (target.to_vec(), Some(target.to_vec()));
    Some(Start { line: 0, who, odd: reasons::of_path(&what, false), what, target, when })
}

#[cfg(test)]
#[path = "persistence_test.rs"]
mod tests;
