//! The agent's door, from outside.

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};
use uuid::Uuid;

use super::super::Error;
use crate::ipc::message::{BundleState, Page};
use crate::text;

/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Answers that are not a bundle.
const ANSWER_MAX: u64 = 4 << 20;
/// Bundles in one list; whoever claims more does not keep them on one host.
const BUNDLES_MAX: usize = 1_000_000;
/// What is shown of an error that is no problem of ours.
const SHOWN_MAX: usize = 200;

/// A door, and the token for it.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    bearer: String,
}

/// The bytes of a bundle from some place on.
pub(super) struct Part {
    /// Where they begin: 0 when the door would not resume.
    pub(super) start: u64,
    /// The bytes; they may end early.
    pub(super) bytes: Box<dyn Read>,
}

#[derive(Deserialize)]
struct List {
    bundles: Vec<BundleState>,
}

impl Client {
    pub(super) fn new(url: &str, token: &str) -> Result<Self, Error> {
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            return Err(Error::usage(
                "the address begins with http:// (the door speaks plain HTTP: come through a tunnel, ssh -L \
                 8740:127.0.0.1:8740 HOST)",
            ));
        }
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::usage("this is not a token: `afterimage token new --role read` makes one"));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A token goes to the door that was named, and nowhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("afterimage/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), url, bearer: format!("Bearer {token}") })
    }

    /// All bundles there are.
    pub(super) fn list(&self) -> Result<Vec<BundleState>, Error> {
        let mut all: Vec<BundleState> = Vec::new();
        let mut before = String::new();
        loop {
            let list: List = self.json(&format!("/v1/bundles?limit={}{before}", Page::MAX))?;
            let Some(oldest) = list.bundles.iter().map(|bundle| bundle.id).min() else { return Ok(all) };
            // Each part is older than the last, or the list would never end.
            if all.iter().any(|bundle| bundle.id <= oldest) || all.len() > BUNDLES_MAX {
                return Err(Error::failed(format!("{} gives a list of bundles that does not end", self.url)));
            }
            before = format!("&before={oldest}");
            all.extend(list.bundles);
        }
    }

    /// One bundle.
    pub(super) fn describe(&self, id: Uuid) -> Result<BundleState, Error> {
        let bundle: BundleState = self.json(&format!("/v1/bundles/{id}"))?;
        if bundle.id == id {
            Ok(bundle)
        } else {
            Err(self.odd("it speaks of another bundle than was asked for"))
        }
    }

    /// A bundle's bytes from `start` on, if the door still has the same file; otherwise from 0 on.
    pub(super) fn content(&self, bundle: &BundleState, start: u64) -> Result<Part, Error> {
        let tag = format!("\"{}\"", bundle.sha256);
        let mut request = self.agent.get(format!("{}/v1/bundles/{}/content", self.url, bundle.id));
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-")).header(IF_RANGE, &tag);
        }
        let response =
            request.header(AUTHORIZATION, &self.bearer).call().map_err(|error| self.failed(&error))?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if response.status().is_success() && header(ETAG) != Some(&tag) {
            return Err(self.odd("the bundle is not the one it had listed"));
        }
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => {
                let begins = format!("bytes {start}-");
                if !header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&begins)) {
                    return Err(self.odd("it sends another part than was asked for"));
                }
                start
            }
            _ => return Err(self.refused(response)),
        };
        Ok(Part { start, bytes: Box::new(response.into_body().into_reader()) })
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.agent.get(format!("{}{path}", self.url)).header(AUTHORIZATION, &self.bearer);
        let response = request.call().map_err(|error| self.failed(&error))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response));
        }
        let reader = response.into_body().into_reader().take(ANSWER_MAX);
        serde_json::from_reader(reader)
            .map_err(|error| self.odd(&format!("its answer is not understood: {error}")))
    }

    /// The door's own sentence, if it is one.
    fn refused(&self, response: Response<Body>) -> Error {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        // Whatever can be read of it is enough.
        drop(response.into_body().into_reader().take(ANSWER_MAX).read_to_end(&mut body));
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str).map(str::as_bytes);
        let shown = detail.unwrap_or_else(|| body.get(..SHOWN_MAX).unwrap_or(&body));
        Error::failed(format!("{} answers {status}: {}", self.url, text::escape(shown)))
    }

    fn failed(&self, error: &ureq::Error) -> Error {
        Error::failed(format!("cannot reach the door at {}: {error}", self.url))
    }

    fn odd(&self, what: &str) -> Error {
        Error::failed(format!("{} does not behave like an agent's door: {what}", self.url))
    }
}
