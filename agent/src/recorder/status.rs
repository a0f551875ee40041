//! Answers to those who ask: local clients and the door.

use std::os::fd::AsFd;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::captures::{Answer, Order};
use super::local::Asked;
use super::{Reason, Recorder, Sight};
use crate::ipc::message::{Body, Page};
use crate::ipc::{Reply, Request, ToDoor, ToRecorder};
use crate::trigger::{Trigger, resolve};

/// When a sender that came at a bad time may come again, in seconds.
const RETRY_S: u32 = 10;

impl Recorder {
    /// Answers the local clients.
    pub(super) fn serve_clients(&mut self) {
        for Asked { client, uid, request, descriptors } in self.clients.turn() {
            let (mut watch, mut wait_for) = (false, None);
            let reply = match request {
                Request::Status => Reply::Status(self.status()),
                Request::Watch => {
                    watch = true;
                    Reply::Done
                }
                Request::Flush => {
                    self.flush();
                    Reply::Flushed
                }
                Request::Captures => {
                    Reply::Captures(self.captures.states().take(usize::from(Page::MAX)).cloned().collect())
                }
                Request::ReloadSecrets => match self.door.reload() {
                    Ok(()) => Reply::Done,
                    Err(reason) => Reply::Refused { reason },
                },
                Request::Capture { mut trigger, to_given_directory, wait } => {
                    trigger.authenticated = format!("local socket, uid {uid}");
                    let directory = descriptors.into_iter().next();
                    if to_given_directory && directory.is_none() {
                        Reply::Refused { reason: "the directory's descriptor did not arrive".to_owned() }
                    } else {
                        let order =
                            self.order(*trigger, Vec::new(), None, directory.filter(|_| to_given_directory));
                        match order {
                            Answer::Accepted(id) | Answer::Duplicate(id) => {
                                wait_for = wait.then_some(id);
                                Reply::Accepted { id }
                            }
                            Answer::Replay => Reply::Refused { reason: "this was asked before".to_owned() },
                            Answer::Busy => Reply::Refused {
                                reason: "too many captures wait already (captures.waiting); try again later"
                                    .to_owned(),
                            },
                            Answer::Refused(reason) => Reply::Refused { reason },
                        }
                    }
                }
            };
            self.clients.answer(client, reply, watch, wait_for);
        }
    }

    /// Answers the door.
    pub(super) fn serve_door(&mut self) {
        for asked in self.door.turn(Instant::now()) {
            let mut file = None;
            let answer = match asked {
                ToRecorder::Trigger { request, trigger, body: Body(body), message } => {
                    match self.order(*trigger, body, message, None) {
                        Answer::Accepted(id) => ToDoor::Accepted { request, id },
                        Answer::Duplicate(id) => ToDoor::Duplicate { request, id },
                        Answer::Replay => ToDoor::Replay { request },
                        Answer::Busy => ToDoor::Busy { request, retry_after_s: RETRY_S },
                        Answer::Refused(reason) => ToDoor::Refused { request, reason },
                    }
                }
                ToRecorder::Captures { request, page } => {
                    let captures =
                        self.captures.states().filter(|state| page.before.is_none_or(|id| state.id < id));
                    let captures = captures.take(limit(page)).cloned().collect();
                    ToDoor::Captures { request, captures }
                }
                ToRecorder::Capture { request, id } => match self.captures.state(&id) {
                    Some(state) => ToDoor::Capture { request, capture: Box::new(state.clone()) },
                    None => ToDoor::NotFound { request },
                },
                ToRecorder::Bundles { request, page } => {
                    let bundles = self.captures.states().filter_map(|state| state.bundle.clone());
                    let bundles = bundles.filter(|bundle| page.before.is_none_or(|id| bundle.id < id));
                    ToDoor::Bundles { request, bundles: bundles.take(limit(page)).collect() }
                }
                ToRecorder::OpenBundle { request, id, reader } => match self.captures.open_bundle(&id) {
                    Some((bundle, opened)) => {
                        tracing::info!(%id, reader, "a bundle is read");
                        file = Some(opened);
                        ToDoor::Bundle { request, bundle }
                    }
                    None => ToDoor::NotFound { request },
                },
                ToRecorder::Health { request, door } => {
                    let mut health = self.status();
                    if let Some(object) = health.as_object_mut() {
                        object.insert("door".to_owned(), door);
                    }
                    ToDoor::Health { request, ready: self.sight.is_attached(), health }
                }
            };
            self.door.answer(&answer, file.as_ref().map(AsFd::as_fd));
        }
    }

    /// Finds whom a trigger means among those in memory, and orders the capture.
    fn order(
        &mut self,
        trigger: Trigger,
        raw: Vec<u8>,
        message: Option<String>,
        directory: Option<std::os::fd::OwnedFd>,
    ) -> Answer {
        let now = Timestamp::now();
        // What has happened up to now belongs to this capture.
        self.flush();
        let targets = resolve::resolve(&trigger, &self.sight.keeper.tree, now);
        let targets = targets.into_iter().map(|found| found.process).collect();
        let hours = i64::try_from(self.config.capture.history_hours).unwrap_or(i64::MAX).min(100_000);
        let since = now.checked_sub(jiff::SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
        let gaps = self.sight.gaps(since, now);
        let sight = Sight { probe: self.sight.report(), counts: self.sight.counts(), gaps };
        let job = self.facts.job(&self.config, Reason { trigger, raw, targets }, sight, now);
        self.captures.order(Order { job, directory, message })
    }

    fn flush(&mut self) {
        let clients = &mut self.clients;
        self.sight.drain_all(&mut |event| clients.event(event));
        self.sight.keeper.flush(&mut |event| clients.event(event));
    }

    fn status(&self) -> Value {
        let (running, waiting) = self.captures.load();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started": self.started,
            "host": self.facts.hostname,
            "kernel": self.facts.kernel,
            "boot": self.facts.boot,
            "sight": self.sight.words(),
            "probe": self.sight.report(),
            "gate": self.sight.gate_report(),
            "places": self.sight.places_report(),
            "counts": self.sight.counts(),
            "gaps": self.sight.gaps(self.started, Timestamp::now()),
            "processes": self.sight.keeper.tree.len(),
            "captures": { "running": running, "waiting": waiting },
            "door": { "open": self.door.is_well(), "pid": self.door.pid(), "listen": self.config.door.enabled.then_some(self.config.door.listen) },
        })
    }
}

fn limit(page: Page) -> usize {
    usize::from(page.limit.min(Page::MAX))
}
