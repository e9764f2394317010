//! Bodies and queries of requests. Their errors say what to change.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tollgate_core::wire;

use super::problem::AppError;

/// The longest body of a batch of leases, in bytes.
pub const LONGEST_BATCH: usize = 1 << 20;

/// The longest body of any other call, in bytes.
pub const LONGEST: usize = 64 << 10;

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        let is_json =
            content_type(request.headers()).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(AppError::UnsupportedMedia("application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|why| unread(&why))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|why| match why.classify() {
            Category::Data => AppError::Unprocessable(why.to_string()),
            Category::Syntax | Category::Eof | Category::Io => {
                AppError::Malformed(format!("the body is not JSON: {why}"))
            }
        })
    }
}

/// A body of the content type `kind`.
async fn bytes_of<S: Send + Sync>(
    kind: &'static str,
    request: Request,
    state: &S,
) -> Result<Bytes, AppError> {
    if content_type(request.headers()) != Some(kind) {
        return Err(AppError::UnsupportedMedia(kind));
    }
    Bytes::from_request(request, state).await.map_err(|why| unread(&why))
}

/// The message of a gateway: in a [header](wire::header) if one request sends it, otherwise in the body.
///
/// # Errors
/// The body is of another type, too long or incomplete, or the header is not base64url.
pub async fn batch<S: Send + Sync>(mut request: Request, state: &S) -> Result<Bytes, AppError> {
    match request.headers().get(wire::header::NAME) {
        Some(text) => wire::header::decode(text.as_bytes()).map(Bytes::from).ok_or_else(|| {
            AppError::Malformed(format!("{} is not base64url without padding", wire::header::NAME))
        }),
        None => {
            DefaultBodyLimit::max(LONGEST_BATCH).apply(&mut request);
            bytes_of(wire::CONTENT_TYPE, request, state).await
        }
    }
}

/// The content type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

fn unread(why: &BytesRejection) -> AppError {
    if why.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return AppError::TooLarge(format!(
            "the body is too long; {LONGEST_BATCH} bytes of leases are read, and {LONGEST} of anything else"
        ));
    }
    AppError::Malformed("the body is incomplete".to_owned())
}

/// A query string.
pub struct QueryString<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryString<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(asked)| Self(asked)).map_err(|why| AppError::Malformed(why.body_text()))
    }
}
