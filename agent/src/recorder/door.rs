//! The recorder's end of the door.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use super::helper::Helper;
use super::{Error, io};
use crate::config::Config;
use crate::door::{secrets, user};
use crate::ipc::{self, Channel, ToDoor, ToRecorder};

/// Requests that are looked at in one turn.
const TURN: usize = 64;
/// Whom the door runs as when its user is not in /etc/passwd: nobody.
const NOBODY: u32 = 65534;

/// The door, if there is one.
pub(super) struct Door {
    listener: Option<OwnedFd>,
    helper: Helper,
    channel: Option<Channel>,
    keys: PathBuf,
}

impl Door {
    /// Binds the port and starts the door's process.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let (uid, gid) = runs_as(config);
        let helper = Helper::new("door", vec![uid.to_string().into(), gid.to_string().into()]);
        let mut door = Self { listener: None, helper, channel: None, keys: config.paths.keys() };
        if config.door.enabled {
            let at = config.door.listen;
            let listener = TcpListener::bind(at).map_err(io(format!("listen at {at} (door.listen)")))?;
            door.listener = Some(listener.into());
            door.start();
            tracing::info!("the door is open at http://{at}");
        }
        Ok(door)
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    /// What the door asks. A door that has ended is started again.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<ToRecorder> {
        let mut asked = Vec::new();
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
