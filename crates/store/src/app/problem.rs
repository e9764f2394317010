//! Every error of the API, and the one place that makes responses of them: problem documents (RFC 9457).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::BackendError;

/// The content type of a problem document.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What to change.
    detail: String,
}

/// Why a call failed. The texts are for the caller, and say what to change.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The request has no token, or one that this store does not accept.
    #[error("send Authorization: Bearer and the gateway's or the admin's token")]
    Unauthorized,
    /// The request has a gateway's token, but needs an admin's.
    #[error("this call needs the admin token")]
    Forbidden,
    /// The thing that the path names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The path exists, but not with this method.
    #[error("this path has other methods: see the Allow header")]
    MethodNotAllowed,
    /// The request contradicts an earlier one.
    #[error("{0}")]
    Conflict(String),
    /// The caller keeps too much here.
    #[error("{0}")]
    TooMany(String),
    /// The body, or a list in it, is too long.
    #[error("{0}")]
    TooLarge(String),
    /// The body has another content type.
    #[error("the body is not {0}; send it, and say so in Content-Type")]
    UnsupportedMedia(&'static str),
    /// The request can be read, but makes no sense.
    #[error("{0}")]
    Unprocessable(String),
    /// The replica is too busy, or the call takes too long.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The backend is away.
    #[error("the store's backend is away, or takes no writes; try again")]
    Away,
    /// The backend holds something that cannot be read; the log has the details.
    #[error("the store holds something that it cannot read; its log says what")]
    Corrupt,
}

impl From<BackendError> for AppError {
    fn from(error: BackendError) -> Self {
        match error {
            // `Instrumented` logs both.
            BackendError::Away(_) => Self::Away,
            BackendError::Corrupt(_) => Self::Corrupt,
        }
    }
}

impl AppError {
    /// The error for something that only the operator can repair. `what` is logged.
    #[must_use]
    pub fn corrupt(what: &str) -> Self {
        tracing::error!(what, "the backend holds what cannot be read");
        Self::Corrupt
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded(_) | Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = self.status();
        let document = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
        };
        let more: Option<(HeaderName, HeaderValue)> = match self {
            Self::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tollgate\"")))
            }
            Self::Overloaded(_) | Self::Away => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            // Old ones are forgotten minute by minute.
            Self::TooMany(_) => Some((header::RETRY_AFTER, HeaderValue::from_static("60"))),
            _ => None,
        };
        let mut response = (status, Json(document)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response.headers_mut().extend(more);
        response
    }
}
