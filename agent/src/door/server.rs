//! Accepts connections: a bounded number, each with little time for its headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at the same time; more wait in the kernel until one of them ends.
const CONNECTIONS: usize = 256;
/// How long a request's headers may take, and a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Headers and a request line.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES: usize = 16 * 1024;
/// How long a client may leave what we sent unacknowledged, or its window closed, in milliseconds.
const SEND_TIME_MS: u32 = 30_000;
/// A pause after a failed accept: out of descriptors, it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, peer, router).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("the door cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router) {
    let bounded = setsockopt(&stream, sockopt::TcpUserTimeout, &SEND_TIME_MS)
        .and_then(|()| setsockopt(&stream, sockopt::TcpNoDelay, &true));
    if let Err(error) = bounded {
        tracing::warn!(%peer, "cannot bound the time of a connection: {error}; it is closed");
        return;
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, "a connection ended early: {error}");
    }
}
