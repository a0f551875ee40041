//! Errors as RFC 9457 problems: a sentence that says what to do.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::link::Unanswered;

/// Whom the answer asks to authenticate, and how (RFC 9110 section 11.6.1).
const CHALLENGE: &str = r#"Bearer realm="afterimage", Basic realm="afterimage", charset="UTF-8""#;

/// What went wrong, for the client.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    more: Option<Box<(&'static str, Value)>>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: Vec::new(), more: None }
    }

    /// 401, with the ways to do it right.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static(CHALLENGE);
        Self::new(StatusCode::UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, challenge)
    }

    /// 503: come again.
    pub(super) fn busy(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).header(RETRY_AFTER, retry_after_s.into())
    }

    /// 404 for a capture or bundle.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} of that id on this host"))
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A further member of the problem.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more = Some(Box::new((name, value)));
        self
    }
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Full => Self::busy("too many requests wait for the recorder; try again", 1),
            Unanswered::Silent => {
                Self::busy("the recorder does not answer; `afterimage status` on the host says more", 5)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        if let (Some(more), Some(object)) = (self.more, body.as_object_mut()) {
            let (name, value) = *more;
            object.insert(name.to_owned(), value);
        }
        let mut response = (self.status, body.to_string()).into_response();
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
