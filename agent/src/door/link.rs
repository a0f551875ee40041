//! The door's end of the socket pair: questions to the recorder, and its answers.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::secrets::Secrets;
use crate::ipc::{Channel, ToDoor, ToRecorder};

/// Questions that may wait to be sent.
const WAITING: usize = 64;
/// How long the recorder may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, and the descriptors that came with it.
pub(super) type Answer = (ToDoor, Vec<OwnedFd>);
type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// The way to the recorder.
#[derive(Debug)]
pub(super) struct Link {
    questions: mpsc::Sender<ToRecorder>,
    pending: Pending,
    next: AtomicU64,
    secrets: watch::Receiver<Arc<Secrets>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Too many questions wait already.
    Full,
    /// It took too long, or the recorder is gone.
    Silent,
}

impl Link {
    /// Starts the two threads that speak with the recorder; the receiver resolves when it has closed.
    pub(super) fn start(channel: Channel) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let channel = Arc::new(channel);
        let pending = Pending::default();
        let (questions, outgoing) = mpsc::channel(WAITING);
        let (publish, secrets) = watch::channel(Arc::default());
        let (closing, closed) = oneshot::channel();
        let (reader, waiting) = (Arc::clone(&channel), Arc::clone(&pending));
        std::thread::Builder::new().name("answers".to_owned()).spawn(move || {
            hear(&reader, &waiting, &publish);
            // Nobody waits for it when the door ends by itself.
            closing.send(()).unwrap_or(());
        })?;
        std::thread::Builder::new().name("questions".to_owned()).spawn(move || speak(&channel, outgoing))?;
        Ok((Self { questions, pending, next: AtomicU64::new(1), secrets }, closed))
    }

    /// Waits until the recorder has said whom to let in, but not for ever.
    ///
    /// A sender whose valid token met with 401 would take that for an answer, and its alert would be lost.
    pub(super) async fn introduction(&self) {
        let mut secrets = self.secrets.clone();
        // Without it nobody is let in; the recorder's log says why it does not come.
        drop(tokio::time::timeout(PATIENCE, secrets.changed()).await);
    }

    /// Whom to let in, as the recorder said last.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.borrow())
    }

    /// Asks the recorder, and waits for the answer.
    pub(super) async fn ask(&self, question: impl FnOnce(u64) -> ToRecorder) -> Result<Answer, Unanswered> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.pending).insert(number, sender);
        let _forget = Forget { pending: &self.pending, number };
        self.questions.try_send(question(number)).map_err(|_| Unanswered::Full)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Unanswered::Silent),
        }
    }
}

/// A client that goes away leaves no question behind.
struct Forget<'l> {
    pending: &'l Pending,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.pending).remove(&self.number);
    }
}

fn hear(channel: &Channel, pending: &Pending, publish: &watch::Sender<Arc<Secrets>>) {
    loop {
        match channel.recv::<ToDoor>() {
            Ok(Some((ToDoor::Secrets(secrets), _))) => {
                publish.send_replace(Arc::new(secrets));
            }
            Ok(Some((answer, descriptors))) => {
                let asked = answer.request().and_then(|number| lock(pending).remove(&number));
                if let Some(asked) = asked {
                    // Whoever asked may be gone; the answer and its descriptors are dropped then.
                    drop(asked.send((answer, descriptors)));
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!("the door cannot hear the recorder: {error}");
                return;
            }
        }
    }
}

fn speak(channel: &Channel, mut questions: mpsc::Receiver<ToRecorder>) {
    while let Some(question) = questions.blocking_recv() {
        if let Err(error) = channel.send(&question, &[]) {
            tracing::error!("the door cannot speak to the recorder: {error}");
            channel.shut_down();
            return;
        }
    }
    channel.shut_down();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
