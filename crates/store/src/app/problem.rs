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
    /// No token, or none that this store knows.
    #[error("send Authorization: Bearer and the gateway's or the admin's token")]
    Unauthorized,
    /// A gateway's token where an admin's is needed.
    #[error("this call needs the admin token")]
    Forbidden,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// There is such a thing, for another method.
    #[error("this path has other methods: see the Allow header")]
    MethodNotAllowed,
    /// The body, or the list in it, is longer than is read.
    #[error("{0}")]
    TooLarge(String),
    /// The body is of another kind.
    #[error("the body is not {0}; send it, and say so in Content-Type")]
    UnsupportedMedia(&'static str),
    /// The request can be read, and means nothing that can be done.
    #[error("{0}")]
    Unprocessable(String),
    /// More at once than this replica takes, or longer than a call may take.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The backend did not do it.
    #[error("the store's backend is away, or takes no writes; try again")]
    Away,
    /// The backend holds what cannot be; the log has the details.
    #[error("the store holds something that it cannot read; its log says what")]
    Corrupt,
}

impl From<BackendError> for AppError {
    fn from(error: BackendError) -> Self {
        match error {
            // Both are logged where they happen: in `Instrumented`.
            BackendError::Away(_) => Self::Away,
            BackendError::Corrupt(_) => Self::Corrupt,
        }
    }
}

impl AppError {
    /// What is said about a thing that only the backend's keeper can mend: `what` goes to the log.
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
            _ => None,
        };
        let mut response = (status, Json(document)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response.headers_mut().extend(more);
        response
    }
}
