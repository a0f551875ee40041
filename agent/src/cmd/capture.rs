//! `afterimage capture`: a capture by hand, now.

mod plan;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use super::{Context, Error, Exit};
use crate::bundle::sign::Key;
use crate::capture::{job, supervise};
use crate::ipc::{Channel, Reply, Request};
use crate::recorder;
use crate::text::Bytes;
use crate::trigger::{Profile, Target, Trigger};

/// Captures now. Without a running recorder it works on its own, without history, and says so.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  afterimage capture --pid 4711 --reason 'odd child of nginx' --case INC-17\n  \
                        afterimage capture --pid 4711 --dry-run\n  \
                        afterimage capture --remote 203.0.113.45:4444\n  \
                        afterimage capture --host --profile volatile --output /mnt/usb"
)]
pub struct CaptureArgs {
    #[command(flatten)]
    whom: Whom,
    /// How much to take.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Which files to take, as groups or definitions of `afterimage artifacts list`, instead of the profile's own.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    artifacts: Vec<String>,
    /// Why; it stands in the bundle.
    #[arg(long, default_value = "asked for by hand")]
    reason: String,
    /// A case number; it stands in the bundle.
    #[arg(long)]
    case: Option<String>,
    /// Only say what would be taken, and why; nothing is.
    #[arg(long)]
    dry_run: bool,
    /// Put the bundle into this directory instead of the store.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Whom the capture is about.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// This process and what descends from it.
    #[arg(long)]
    pid: Option<u32>,
    /// The processes of this container (12 digits at least).
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// The processes that ran this file.
    #[arg(long)]
    path: Option<PathBuf>,
    /// The processes that spoke with this address.
    #[arg(long, value_name = "IP[:PORT]", value_parser = remote)]
    remote: Option<(IpAddr, Option<u16>)>,
    /// The whole host.
    #[arg(long)]
    host: bool,
}

/// What is known at the end.
struct Done {
    id: uuid::Uuid,
    file: String,
    bytes: u64,
    sha256: String,
    complete: bool,
    outcomes: Vec<(String, u64)>,
    recorder: bool,
}

/// Asks the recorder, or does it alone, and prints where the bundle is.
pub fn run(args: &CaptureArgs, context: &Context) -> Result<Exit, Error> {
    let trigger = trigger(args)?;
    if args.dry_run {
        must_be_root()?;
        return plan::show(trigger, context);
    }
    let directory = args.output.as_ref().map(|path| {
        let opened =
            File::open(path).and_then(|folder| folder.metadata().map(|metadata| (folder, metadata.is_dir())));
        match opened {
            Ok((folder, true)) => Ok(OwnedFd::from(folder)),
            Ok((_, false)) => Err(Error::usage(format!("--output {} is not a directory", path.display()))),
            Err(failure) => Err(Error::usage(format!("cannot open --output {}: {failure}", path.display()))),
        }
    });
    let directory = directory.transpose()?;
    let mut done = match Channel::connect(&context.config.paths.socket) {
        Ok(channel) => by_recorder(&channel, trigger, directory.as_ref(), context)?,
        Err(_) => alone(trigger, directory, context)?,
    };
    if let Some(folder) = &args.output {
        let name = std::path::Path::new(&done.file).file_name().map(PathBuf::from).unwrap_or_default();
        done.file = folder.join(name).display().to_string();
    }
    print(&done, context)?;
    Ok(Exit::Done)
}

fn trigger(args: &CaptureArgs) -> Result<Trigger, Error> {
    let Whom { pid, container, path, remote, host } = &args.whom;
    if let Some(id) = container
        && (id.len() < 12 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Error::usage(
            "--container takes at least the first 12 hexadecimal digits of the container's id",
        ));
    }
    let exe = path.as_ref().map(|path| Bytes::from(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())));
    Ok(Trigger {
        sender: "person".to_owned(),
        authenticated: format!("own process, uid {}", nix::unistd::getuid()),
        rule: args.reason.clone(),
        time: None,
        target: Target {
            whole_host: *host,
            pid: *pid,
            exe,
            container_id: container.clone(),
            remote_ip: remote.map(|(address, _)| address),
            remote_port: remote.and_then(|(_, port)| port),
            ..Target::default()
        },
        case: args.case.clone(),
        profile: Some(args.profile),
        artifacts: args.artifacts.clone(),
        ..Trigger::default()
    })
}

fn by_recorder(
    channel: &Channel,
    trigger: Trigger,
    directory: Option<&OwnedFd>,
    context: &Context,
) -> Result<Done, Error> {
    let request =
        Request::Capture { trigger: Box::new(trigger), to_given_directory: directory.is_some(), wait: true };
    let descriptors: Vec<_> = directory.into_iter().map(AsFd::as_fd).collect();
    channel.send(&request, &descriptors).map_err(Error::failed)?;
    let bar = bar(context);
    while let Some((reply, _)) = channel.recv::<Reply>().map_err(Error::failed)? {
        match reply {
            Reply::Progress { collection, done, total, bytes, .. } => {
                advance(&bar, &collection, done, total, bytes);
            }
            Reply::Refused { reason } => return Err(Error::failed(reason)),
            Reply::Sealed { id, file, bytes, sha256, complete, outcomes } => {
                bar.finish_and_clear();
                return Ok(Done { id, file, bytes, sha256, complete, outcomes, recorder: true });
            }
            _ => {}
        }
    }
    Err(Error::failed(
        "the recorder ended; the capture is taken up when it starts again (`afterimage bundle list`)",
    ))
}

/// Everything in this process and its own helpers: no history.
fn alone(trigger: Trigger, directory: Option<OwnedFd>, context: &Context) -> Result<Done, Error> {
    must_be_root()?;
    let mut note = std::io::stderr().lock();
    writeln!(
        note,
        "note: no recorder runs on this host: this capture has no history and no exited processes"
    )?;
    drop(note);
    let config = &context.config;
    let host = recorder::Host::read(config).map_err(Error::failed)?;
    let key = Key::load_or_create(&config.paths.keys(), &host.machine_id).map_err(Error::failed)?;
    let store = config.paths.bundles();
    let directory = if let Some(directory) = directory {
        if !job::is_ours(&directory).map_err(Error::failed)? {
            return Err(Error::usage(job::NOT_OURS));
        }
        directory
    } else {
        crate::store::Store::open(&store).map_err(Error::failed)?;
        File::open(&store).map_err(Error::failed)?.into()
    };
    let probe = json!({ "attached": false, "reason": "no recorder ran" });
    let reason = recorder::Reason { trigger, ..recorder::Reason::default() };
    let sight = recorder::Sight { probe, counts: json!(null), gaps: Vec::new() };
    let mut job = host.job(config, reason, sight, Timestamp::now());
    // What an earlier recorder wrote is still evidence, but it does not reach up to now: the living are scanned.
    job.places.history = None;
    recorder::write_job(&directory, &job).map_err(Error::failed)?;
    let bar = bar(context);
    let mut sign = |manifest: &[u8]| key.sign(manifest).map_err(|failure| failure.to_string());
    let sealed = supervise::run(&job, directory.as_fd(), None, &mut sign, &mut |progress| {
        advance(&bar, &progress.collection, progress.done, progress.total, progress.bytes);
    });
    bar.finish_and_clear();
    let sealed = sealed.map_err(Error::failed)?;
    Ok(Done {
        id: job.id,
        file: store.join(&sealed.file).display().to_string(),
        bytes: sealed.bytes,
        complete: sealed.incomplete.is_none(),
        outcomes: recorder::outcomes(&sealed),
        sha256: sealed.sha256,
        recorder: false,
    })
}

fn must_be_root() -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let words = "a capture must be made as root (other users' memory, environment and files are read), or by a \
                 running recorder, which root may ask";
    Err(Error::failed(words))
}

fn print(done: &Done, context: &Context) -> Result<(), Error> {
    let Done { id, file, bytes, sha256, complete, outcomes, recorder } = done;
    if context.json {
        let outcomes: serde_json::Map<_, _> =
            outcomes.iter().map(|(outcome, count)| (outcome.clone(), json!(count))).collect();
        return context.print_json(&json!({ "id": id, "file": file, "bytes": bytes, "sha256": sha256,
            "complete": complete, "outcomes": outcomes, "recorder": recorder }));
    }
    let mut out = context.out();
    let counted: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    writeln!(out, "{file}")?;
    writeln!(out, "  {bytes} bytes, sha256 {sha256}")?;
    writeln!(out, "  attempts: {}{}", counted.join(", "), if *complete { "" } else { "; NOT COMPLETE" })?;
    writeln!(out, "  see it:   afterimage bundle show {id}")?;
    Ok(out.flush()?)
}

fn bar(context: &Context) -> ProgressBar {
    if !context.is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:24} {pos}/{len}  {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn advance(bar: &ProgressBar, collection: &str, done: u64, total: u64, bytes: u64) {
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(format!("{collection}, {} MiB", bytes >> 20));
}

fn remote(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    let address = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address like 203.0.113.45 or [2001:db8::1]:443"))?;
    Ok((address, None))
}
