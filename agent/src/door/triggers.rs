//! `POST /v1/triggers/{sender}`: authenticate, read, ask the recorder, 202.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::{self, Caller};
use super::problem::Problem;
use super::routes::{Door, unexpected};
use super::secrets::Role;
use crate::ipc::message::{self, ToDoor, ToRecorder};
use crate::trigger::Trigger;
use crate::trigger::adapter::{self, Adapted};

/// The longest body. The largest known sender (SNS) stays below it.
const BODY_MAX: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// What is read and thrown away of a body that was refused, so that the client reads the answer and not a reset.
const DRAIN_MAX: usize = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// One trigger and what the recorder said.
enum Said {
    Accepted(Uuid),
    Duplicate(Uuid),
    Replay,
    Busy(u32),
    Refused(String),
}

pub(super) async fn receive(
    State(door): State<Arc<Door>>,
    Path(sender): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let result = answer(&door, &sender, &parts.headers, &mut body).await;
    if result.is_err() && !parts.headers.contains_key("expect") {
        drain(body).await;
    }
    result
}

async fn answer(
    door: &Door,
    sender: &str,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, Problem> {
    let unauthorized = |denied: auth::Denied| Problem::unauthorized(denied.to_string());
    let (caller, bytes) = if auth::is_signed(headers) {
        let bytes = read(body).await?;
        let caller = auth::by_signature(headers, &bytes, &door.link.secrets(), Timestamp::now());
        (caller.map_err(unauthorized)?, bytes)
    } else {
        let caller = auth::by_token(headers, &door.link.secrets()).map_err(unauthorized)?;
        check(&caller, sender)?;
        (caller, read(body).await?)
    };
    check(&caller, sender)?;
    let adapted = adapter::adapt(sender, &bytes, caller.message.as_deref())
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let Adapted { triggers, ignored } = adapted;
    // Only now: who is not let in, or sends slowly, takes nobody's turn.
    let Ok(_turn) = door.in_flight.try_acquire() else {
        return Err(Problem::busy("too many triggers are on their way; try again", 1));
    };
    let mut said: Vec<Said> = Vec::with_capacity(triggers.len());
    // By the secret's name and the id: whatever path it comes by, it is the same message.
    let message = caller.message.as_ref().map(|id| format!("{}/{id}", caller.name));
    let last = triggers.len();
    for (number, mut trigger) in (1..).zip(triggers) {
        trigger.authenticated.clone_from(&caller.how);
        // The message counts as accepted with its last alert: when one before could not be taken it may come again.
        let all_taken = said.iter().all(|said| matches!(said, Said::Accepted(_) | Said::Duplicate(_)));
        let message = message.clone().filter(|_| number == last && all_taken);
        said.push(order(door, trigger, &bytes, message).await?);
    }
    conclude(&said, ignored)
}

/// Whether this caller may be this sender, and whether there is one.
fn check(caller: &Caller, sender: &str) -> Result<(), Problem> {
    if !adapter::SENDERS.contains(&sender) {
        let error = adapter::Error::UnknownSender(crate::text::escape(sender.as_bytes()));
        return Err(Problem::new(StatusCode::NOT_FOUND, error.to_string()));
    }
    if caller.role == Role::Read {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this token may read only; `afterimage token new --role trigger` makes one that may trigger",
        ));
    }
    match &caller.sender {
        Some(bound) if bound != sender => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this token is for the sender {bound}: post to /v1/triggers/{bound}"),
        )),
        _ => Ok(()),
    }
}

async fn read(body: &mut Body) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a trigger may have 256 KiB at most; let the sender leave out what is not needed to find the process",
        )
    };
    if body.size_hint().lower() > u64::try_from(BODY_MAX).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let gather = async {
        let mut whole = Vec::new();
        while let Some(chunk) = next(body).await? {
            if whole.len().saturating_add(chunk.len()) > BODY_MAX {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(whole))
    };
    tokio::time::timeout(BODY_TIME, gather).await.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 seconds"))
    })
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                let text = format!("the body cannot be read: {error}");
                return Err(Problem::new(StatusCode::BAD_REQUEST, text));
            }
        }
    }
}

async fn drain(mut body: Body) {
    let discard = async {
        let mut seen = 0_usize;
        while let Ok(Some(chunk)) = next(&mut body).await {
            seen = seen.saturating_add(chunk.len());
            if seen > DRAIN_MAX {
                break;
            }
        }
    };
    tokio::time::timeout(DRAIN_TIME, discard).await.unwrap_or(());
}

async fn order(
    door: &Door,
    trigger: Trigger,
    bytes: &Bytes,
    message: Option<String>,
) -> Result<Said, Problem> {
    let (trigger, body) = (Box::new(trigger), message::Body(bytes.to_vec()));
    let answer = door.link.ask(|request| ToRecorder::Trigger { request, trigger, body, message }).await?;
    Ok(match answer.0 {
        ToDoor::Accepted { id, .. } => Said::Accepted(id),
        ToDoor::Duplicate { id, .. } => Said::Duplicate(id),
        ToDoor::Replay { .. } => Said::Replay,
        ToDoor::Busy { retry_after_s, .. } => Said::Busy(retry_after_s),
        ToDoor::Refused { reason, .. } => Said::Refused(reason),
        _ => return Err(unexpected()),
    })
}

/// One answer for all alerts of a message. When one could not be taken the sender is told to send all of them
/// again: those that were taken are known by their key then.
fn conclude(said: &[Said], ignored: usize) -> Result<Response, Problem> {
    let captures: Vec<Value> = said
        .iter()
        .map(|said| match said {
            Said::Accepted(id) => json!({ "id": id, "status": "accepted" }),
            Said::Duplicate(id) => json!({ "id": id, "status": "duplicate" }),
            Said::Replay => json!({ "status": "replay" }),
            Said::Busy(_) => json!({ "status": "busy" }),
            Said::Refused(reason) => json!({ "status": "refused", "detail": reason }),
        })
        .collect();
    for said in said {
        let problem = match said {
            Said::Accepted(_) | Said::Duplicate(_) => continue,
            Said::Replay => Problem::new(
                StatusCode::CONFLICT,
                "a message with this `webhook-id` was accepted before; every message needs an id of its own",
            ),
            Said::Busy(seconds) => Problem::busy("too many captures wait; try again", *seconds),
            Said::Refused(reason) => Problem::busy(format!("the recorder cannot take it: {reason}"), 60),
        };
        return Err(problem.with("captures", captures.into()));
    }
    let accepted = said.iter().any(|said| matches!(said, Said::Accepted(_)));
    let first = said.iter().find_map(|said| match said {
        Said::Accepted(id) | Said::Duplicate(id) => Some(*id),
        _ => None,
    });
    let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    let body = axum::Json(json!({ "id": first, "captures": captures, "ignored": ignored }));
    Ok(match first {
        Some(id) => (status, [(LOCATION, format!("/v1/captures/{id}"))], body).into_response(),
        None => (status, body).into_response(),
    })
}
