//! What can be asked at the door.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::auth::{self, Caller};
use super::link::Link;
use super::problem::Problem;
use super::secrets::Role;
use super::{content, metrics, triggers};
use crate::ipc::message::Page;
use crate::ipc::{ToDoor, ToRecorder};

/// Triggers that may be on their way to the recorder.
const IN_FLIGHT: usize = 32;

/// What every request can see.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) link: Link,
    pub(super) in_flight: Semaphore,
    prison: Value,
}

impl Door {
    pub(super) fn new(link: Link, prison: Value) -> Arc<Self> {
        Arc::new(Self { link, in_flight: Semaphore::new(IN_FLIGHT), prison })
    }

    /// Tells the recorder how the door is kept, and asks how it does.
    pub(super) async fn health(&self) -> Result<(bool, Value), Problem> {
        let question = |request| ToRecorder::Health { request, door: self.prison.clone() };
        match self.link.ask(question).await? {
            (ToDoor::Health { ready, health, .. }, _) => Ok((ready, health)),
            _ => Err(unexpected()),
        }
    }
}

/// The routes.
pub(super) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/triggers/{sender}", post(triggers::receive))
        .route("/v1/captures", get(captures))
        .route("/v1/captures/{id}", get(capture))
        .route("/v1/bundles", get(bundles))
        .route("/v1/bundles/{id}", get(content::describe))
        .route("/v1/bundles/{id}/content", get(content::send))
        .route("/healthz", get(|| async { axum::Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::disable()) // the trigger route bounds its body itself
        .with_state(door)
}

/// Lets in whoever may read.
pub(super) fn reader(door: &Door, headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = any(door, headers)?;
    match caller.role {
        Role::Read | Role::Admin => Ok(caller),
        Role::Trigger => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this token may send triggers only; `afterimage token new --role read` makes one that may read",
        )),
    }
}

fn any(door: &Door, headers: &HeaderMap) -> Result<Caller, Problem> {
    auth::by_token(headers, &door.link.secrets()).map_err(|denied| Problem::unauthorized(denied.to_string()))
}

#[derive(Deserialize)]
struct PageQuery {
    before: Option<Uuid>,
    limit: Option<u16>,
}

fn page(request: &Request) -> Result<Page, Problem> {
    let Query(query) = Query::<PageQuery>::try_from_uri(request.uri()).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "`before` must be an id and `limit` a number up to 200")
    })?;
    let limit = query.limit.unwrap_or(Page::MAX).clamp(1, Page::MAX);
    Ok(Page { before: query.before, limit })
}

async fn captures(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Problem> {
    reader(&door, request.headers())?;
    let page = page(&request)?;
    match door.link.ask(|request| ToRecorder::Captures { request, page }).await? {
        (ToDoor::Captures { captures, .. }, _) => {
            Ok(axum::Json(json!({ "captures": captures })).into_response())
        }
        _ => Err(unexpected()),
    }
}

async fn capture(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    // Whoever sent a trigger may see what became of it.
    any(&door, request.headers())?;
    let id = id.parse().map_err(|_| Problem::not_found("capture"))?;
    match door.link.ask(|request| ToRecorder::Capture { request, id }).await? {
        (ToDoor::Capture { capture, .. }, _) => Ok(axum::Json(capture).into_response()),
        (ToDoor::NotFound { .. }, _) => Err(Problem::not_found("capture")),
        _ => Err(unexpected()),
    }
}

async fn bundles(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Problem> {
    reader(&door, request.headers())?;
    let page = page(&request)?;
    match door.link.ask(|request| ToRecorder::Bundles { request, page }).await? {
        (ToDoor::Bundles { bundles, .. }, _) => Ok(axum::Json(json!({ "bundles": bundles })).into_response()),
        _ => Err(unexpected()),
    }
}

async fn ready(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Problem> {
    any(&door, request.headers())?;
    let (ready, health) = door.health().await?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "recorder": health, "door": door.prison });
    Ok((status, axum::Json(body)).into_response())
}

async fn metrics_text(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Problem> {
    reader(&door, request.headers())?;
    let (ready, health) = door.health().await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(ready, &health)).into_response())
}

async fn nowhere(State(door): State<Arc<Door>>, request: Request) -> Problem {
    // What exists is nobody's business without a token.
    any(&door, request.headers()).map_or_else(
        |problem| problem,
        |_| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "there is nothing at this path; see docs/door.md for what there is",
            )
        },
    )
}

async fn not_so(State(door): State<Arc<Door>>, request: Request) -> Problem {
    any(&door, request.headers()).map_or_else(
        |problem| problem,
        |_| Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know this method"),
    )
}

pub(super) fn unexpected() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "the recorder gave an answer that does not fit the question")
}
