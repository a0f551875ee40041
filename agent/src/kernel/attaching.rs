//! Programs that are attached one after the other while the recorder already records: each takes its time, and there are
//! many.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, sync_channel};

use super::report::{Fate, Report};
use crate::system::bpf_try;

/// What became of one.
type Attached = (&'static str, Result<OwnedFd, String>);

/// The thread's results, and what is attached by now.
pub(super) struct Attaching {
    results: Receiver<Attached>,
    links: Vec<OwnedFd>,
}

impl Attaching {
    /// Begins with `programs`.
    pub(super) fn start(programs: Vec<(&'static str, OwnedFd)>) -> Self {
        let (told, results) = sync_channel(programs.len());
        let work = move || {
            for (name, program) in programs {
                let link = bpf_try::attach(program.as_fd()).map_err(|failure| failure.to_string());
                // Nobody listens when the probe has been given up; the link is closed with the message.
                if told.send((name, link)).is_err() {
                    return;
                }
            }
        };
        if let Err(failure) = std::thread::Builder::new().name("attach".to_owned()).spawn(work) {
            tracing::error!("no thread to attach programs: {failure}");
        }
        Self { results, links: Vec::new() }
    }

    /// Writes down what has been done since the last call.
    pub(super) fn settle(&mut self, report: &mut Report) {
        for (name, link) in self.results.try_iter() {
            let Some(program) = report.programs.iter_mut().find(|program| program.name == name) else {
                continue;
            };
            program.fate = match link {
                Ok(link) => {
                    self.links.push(link);
                    Fate::Attached
                }
                Err(reason) => Fate::Missing(reason),
            };
        }
    }
}
