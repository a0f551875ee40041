//! One page per subcommand.

pub mod artifacts;
pub mod bundle;
pub mod canary;
pub mod capture;
pub mod config;
pub mod doctor;
pub mod history;
pub mod key;
pub mod pull;
pub mod run;
pub mod status;
pub mod token;
pub mod trigger;
pub mod watch;
pub mod worker;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Config;
use crate::ipc::{self, Channel, Reply, Request};

/// How the program ends (DESIGN section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something failed.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// A bundle is not what was sealed.
    Tampered,
    /// A bundle is cut off; what is there is intact.
    Torn,
    /// A bundle is intact and signed by a key that is not trusted.
    Untrusted,
    /// What the canary could not do.
    Canary(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Tampered => 3,
            Exit::Torn => 4,
            Exit::Untrusted => 5,
            Exit::Canary(bits) => bits,
        })
    }
}

/// Why a subcommand could not do its work: the words, and the way to end.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Error {
    /// A sentence that names the step and the object, and says what to do.
    pub words: String,
    /// How the program ends.
    pub exit: Exit,
}

impl Error {
    /// A failure, in the words of `failure`.
    pub fn failed(failure: impl std::fmt::Display) -> Self {
        Self { words: failure.to_string(), exit: Exit::Failed }
    }

    /// Wrong usage or configuration.
    pub fn usage(words: impl std::fmt::Display) -> Self {
        Self { words: words.to_string(), exit: Exit::Usage }
    }
}

impl From<io::Error> for Error {
    /// Writing the output is the only thing a subcommand does that fails without words of its own.
    fn from(failure: io::Error) -> Self {
        // Whoever closed the pipe has seen enough.
        let exit = if failure.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed };
        Self { words: format!("cannot write the output: {failure}"), exit }
    }
}

/// What every subcommand gets.
#[derive(Debug)]
pub struct Context {
    /// The configuration in force.
    pub config: Config,
    /// Whether the output is for a machine.
    pub json: bool,
}

impl Context {
    /// The standard output, for a subcommand's result.
    pub fn out(&self) -> io::BufWriter<io::StdoutLock<'static>> {
        io::BufWriter::new(io::stdout().lock())
    }

    /// One JSON value and a line end.
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<(), Error> {
        let mut out = self.out();
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// Whether a person looks at the standard output as it is written: colours, and at the standard error: progress.
    pub fn is_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

/// How long the recorder may leave a question without an answer. One that is stopped or frozen, or was left without
/// descriptors, would let whoever asks wait for ever.
const ANSWER: Duration = Duration::from_secs(20);

/// The recorder's local socket, or words on why it does not answer.
pub fn connect(context: &Context) -> Result<Channel, Error> {
    let socket = &context.config.paths.socket;
    Channel::connect(socket).map_err(|failure| {
        let words = format!(
            "no recorder answers at {}: {failure}. Is `afterimage run` running, and are you root?",
            socket.display()
        );
        Error::failed(words)
    })
}

/// Asks what is answered at once. `None`: the recorder ended before it answered.
pub fn ask(channel: &Channel, request: &Request) -> Result<Option<Reply>, Error> {
    answer(channel, request, ANSWER)
}

fn answer(channel: &Channel, request: &Request, patience: Duration) -> Result<Option<Reply>, Error> {
    let asked = || {
        channel.set_timeout(patience)?;
        channel.send(request, &[])?;
        channel.recv::<Reply>()
    };
    match asked() {
        Ok(reply) => Ok(reply.map(|(reply, _)| reply)),
        Err(ipc::Error::WouldBlock) => Err(Error::failed(format!(
            "the recorder has not answered for {} s: it is stopped, frozen or without descriptors (look at its State in \
             /proc/PID/status); SIGCONT, or a restart of the service, brings it back",
            patience.as_secs()
        ))),
        Err(failure) => Err(Error::failed(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_that_does_not_answer_is_not_waited_for() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let failure = answer(&ours, &Request::Status, Duration::from_millis(20)).unwrap_err();
        assert!(failure.to_string().contains("has not answered"), "{failure}");
    }

    #[test]
    fn one_that_ends_gives_no_answer() {
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.shut_down();
        assert!(!matches!(answer(&ours, &Request::Status, Duration::from_secs(9)), Ok(Some(_))));
    }
}
