//! HTTP, in an unprivileged process of its own.
//!
//! The recorder binds the port, starts this process with the listener and one end of a socket pair, and tells it
//! whom to let in. The door can ask for a capture and read sealed bundles, through descriptors it is handed; it can
//! open nothing itself.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use crate::ipc::Channel;
use crate::system::prison;

mod auth;
mod content;
mod link;
mod metrics;
mod problem;
mod range;
mod routes;
pub mod secrets;
mod server;
mod signature;
mod triggers;
pub mod user;

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The prison around it is not complete; it does not listen then.
    #[error(transparent)]
    Prison(#[from] prison::Error),
    /// The listener cannot be used, or a thread cannot be started.
    #[error("cannot start the door: {0}")]
    Start(#[from] std::io::Error),
}

/// Serves on `listener` until the recorder closes `channel`. Drops to `user` (uid, gid) and into its prison first,
/// for ever: this process can do nothing else afterwards.
pub fn run(listener: OwnedFd, channel: OwnedFd, user: (u32, u32)) -> Result<(), Error> {
    let report = prison::enter(user)?;
    let report = serde_json::to_value(report).unwrap_or_default();
    serve(listener.into(), Channel::new(channel), report)
}

fn serve(listener: TcpListener, channel: Channel, prison: serde_json::Value) -> Result<(), Error> {
    listener.set_nonblocking(true)?;
    let (link, closed) = link::Link::start(channel)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(4)
        .build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        link.introduction().await;
        let door = routes::Door::new(link, prison);
        let serving = server::serve(listener, routes::router(std::sync::Arc::clone(&door)));
        let greeting = async {
            if door.health().await.is_err() {
                tracing::warn!("the recorder does not answer the door");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => {}
            () = greeting => {}
            _ = closed => {}
        }
        Ok(())
    })
}

#[cfg(test)]
mod door_test;
