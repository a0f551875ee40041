//! Sealed bundles: what they are, and their bytes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::problem::Problem;
use super::range::{self, Part};
use super::routes::{Door, reader, unexpected};
use crate::ipc::message::BundleState;
use crate::ipc::{ToDoor, ToRecorder};
use crate::text;

/// Bytes that are read at once.
const CHUNK: u64 = 256 * 1024;

/// `GET /v1/bundles/{id}`
pub(super) async fn describe(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (bundle, _file) = open(&door, &id, request.headers()).await?;
    Ok(axum::Json(bundle).into_response())
}

/// `GET` or `HEAD /v1/bundles/{id}/content`
pub(super) async fn send(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (bundle, file) = open(&door, &id, request.headers()).await?;
    let asked = request.headers();
    let mut headers = describe_content(&bundle);
    let tag = headers.get(ETAG).cloned();
    if tag.is_some() && asked.get(IF_NONE_MATCH) == tag.as_ref() {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    // A range of another version of the file would be spliced into a file that never was.
    let same = asked.get(IF_RANGE).is_none_or(|condition| Some(condition) == tag.as_ref());
    let range = asked.get(RANGE).filter(|_| same).and_then(|range| range.to_str().ok());
    let (status, range) = match range.map_or(Part::Whole, |range| range::parse(range, bundle.size)) {
        Part::Whole => (StatusCode::OK, 0..bundle.size),
        Part::Some(range) => {
            let last = range.end.saturating_sub(1);
            put(&mut headers, CONTENT_RANGE, &format!("bytes {}-{last}/{}", range.start, bundle.size));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Part::Nothing => {
            let text = format!("the bundle has {} bytes; the range begins behind them", bundle.size);
            let size = HeaderValue::from_str(&format!("bytes */{}", bundle.size));
            let size = size.unwrap_or(HeaderValue::from_static("bytes */*"));
            return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, text).header(CONTENT_RANGE, size));
        }
    };
    headers.insert(CONTENT_LENGTH, range.end.saturating_sub(range.start).into());
    Ok((status, headers, Body::new(Content { file: Arc::new(file), rest: range, reading: None }))
        .into_response())
}

async fn open(door: &Door, id: &str, headers: &HeaderMap) -> Result<(BundleState, File), Problem> {
    let caller = reader(door, headers)?;
    let id = id.parse().map_err(|_| Problem::not_found("bundle"))?;
    let question = |request| ToRecorder::OpenBundle { request, id, reader: caller.name };
    match door.link.ask(question).await? {
        (ToDoor::Bundle { bundle, .. }, descriptors) => match descriptors.into_iter().next() {
            Some(descriptor) => Ok((bundle, descriptor.into())),
            None => Err(unexpected()),
        },
        (ToDoor::NotFound { .. }, _) => Err(Problem::not_found("bundle")),
        _ => Err(unexpected()),
    }
}

fn describe_content(bundle: &BundleState) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let digest = text::unhex(&bundle.sha256).unwrap_or_default();
    // RFC 9110's ETag and RFC 9530's digest of the whole, whatever part of it is sent.
    put(&mut headers, ETAG, &format!("\"{}\"", bundle.sha256));
    put(
        &mut headers,
        HeaderName::from_static("repr-digest"),
        &format!("sha-256=:{}:", STANDARD.encode(digest)),
    );
    let name: String =
        bundle.file.chars().filter(|&c| c.is_ascii_graphic() && c != '"' && c != '\\').collect();
    put(&mut headers, CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
    put(&mut headers, LAST_MODIFIED, &bundle.modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A part of a file, read piece by piece as the client takes it.
struct Content {
    file: Arc<File>,
    rest: Range<u64>,
    reading: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
}

impl hyper::body::Body for Content {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let (file, at) = (Arc::clone(&self.file), self.rest.start);
        let length = self.rest.end.saturating_sub(at).min(CHUNK);
        let reading = self.reading.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || read_at(&file, at, usize::try_from(length).unwrap_or(0)))
        });
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Ok(bytes)) => {
                self.rest.start = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
                Ok(Frame::data(Bytes::from(bytes)))
            }
            Ok(Err(error)) => Err(error),
            Err(error) => Err(std::io::Error::other(error)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.end.saturating_sub(self.rest.start))
    }
}

fn read_at(file: &File, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
