//! The recorder's end of the door.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::helper::Helper;
use crate::config::Config;
use crate::door::{secrets, user};
use crate::ipc::{self, Channel, ToDoor, ToRecorder};

/// Requests that are looked at in one turn.
const TURN: usize = 64;
/// How often a port that is taken is tried.
const RETRY: Duration = Duration::from_secs(2);
/// Whom the door runs as when its user is not in /etc/passwd: nobody.
const NOBODY: u32 = 65534;

/// The door, if there is one.
pub(super) struct Door {
    /// Where to listen; `None` when there shall be no door.
    at: Option<SocketAddr>,
    listener: Option<OwnedFd>,
    tried: Instant,
    helper: Helper,
    channel: Option<Channel>,
    keys: PathBuf,
}

impl Door {
    /// Binds the port and starts the door's process. A port that is taken is tried again and again: whoever holds it
    /// must not be able to keep the recorder from recording.
    pub(super) fn open(config: &Config) -> Self {
        let (uid, gid) = runs_as(config);
        let helper = Helper::new("door", vec![uid.to_string().into(), gid.to_string().into()]);
        let at = config.door.enabled.then_some(config.door.listen);
        let (tried, keys) = (Instant::now(), config.paths.keys());
        let mut door = Self { at, listener: None, tried, helper, channel: None, keys };
        door.bind();
        door
    }

    fn bind(&mut self) {
        self.tried = Instant::now();
        let Some(at) = self.at else { return };
        match TcpListener::bind(at) {
            Ok(listener) => {
                self.listener = Some(listener.into());
                self.start();
                tracing::info!("the door is open at http://{at}");
            }
            Err(failure) => {
                tracing::error!(
                    "cannot listen at {at} (door.listen): {failure}; no webhook is heard, it is tried again"
                );
            }
        }
    }

    /// Whether it is open, or shall be closed.
    pub(super) fn is_well(&self) -> bool {
        self.at.is_none() || self.channel.is_some()
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    /// What the door asks. A door that has ended is started again.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<ToRecorder> {
        let mut asked = Vec::new();
        if self.listener.is_none() && now.saturating_duration_since(self.tried) >= RETRY {
            self.bind();
        }
        if self.channel.is_none() && self.listener.is_some() && self.helper.may_start(now) {
            self.start();
        }
        while let Some(channel) = self.channel.as_ref().filter(|_| asked.len() < TURN) {
            match channel.try_recv::<ToRecorder>() {
                Ok(Some((request, _))) => asked.push(request),
                Err(ipc::Error::WouldBlock) => break,
                Ok(None) => {
                    tracing::error!("the door has ended; it is started again");
                    self.channel = None;
                }
                Err(failure) => {
                    tracing::error!("{failure}: the door is started again");
                    self.channel = None;
                }
            }
        }
        asked
    }

    /// Answers it. A door that does not take answers is started again.
    pub(super) fn answer(&mut self, message: &ToDoor, descriptor: Option<BorrowedFd<'_>>) {
        let Some(channel) = &self.channel else { return };
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if let Err(failure) = channel.try_send(message, &descriptors) {
            tracing::error!("{failure}: the door is started again");
            self.channel = None;
        }
    }

    /// Reads tokens and secrets again and passes them on.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let secrets = secrets::load(&self.keys).map_err(|failure| failure.to_string())?;
        self.answer(&ToDoor::Secrets(secrets), None);
        Ok(())
    }

    /// The door's pid.
    pub(super) fn pid(&self) -> Option<u32> {
        self.helper.pid().filter(|_| self.channel.is_some())
    }

    fn start(&mut self) {
        let listener = match self.listener.as_ref().map(OwnedFd::try_clone) {
            Some(Ok(listener)) => listener,
            Some(Err(failure)) => return tracing::error!("the door cannot be started: {failure}"),
            None => return,
        };
        self.channel = self.helper.start_with(Some(listener)).map(Channel::without_descriptors);
        if let Err(failure) = self.reload() {
            tracing::error!("{failure}; the door lets nobody in");
        }
    }
}

/// The user and group of the door's process.
fn runs_as(config: &Config) -> (u32, u32) {
    let name = &config.door.user;
    if let Ok(number) = name.parse::<u32>() {
        return (number, number);
    }
    let passwd = std::fs::read(config.paths.root.join("etc/passwd")).unwrap_or_default();
    user::find(&passwd, name.as_bytes()).unwrap_or((NOBODY, NOBODY))
}
