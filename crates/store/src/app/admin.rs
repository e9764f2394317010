//! What admins may do: set and remove overrides, reset a consumer, say who pays for it, and read the audit log.

pub mod audit;
pub mod customers;
pub mod override_spec;
pub mod overrides;
pub mod reset;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::problem::AppError;

/// The longest `X-Actor`, in bytes.
pub const MAX_ACTOR: usize = 128;

/// The longest `reason`, in bytes.
pub const MAX_REASON: usize = 1_024;

/// Who the admin claims to be, for the audit log: `X-Actor`, or `admin`.
pub struct Actor(pub String);

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        let Some(value) = parts.headers.get("x-actor") else { return Ok(Self("admin".to_owned())) };
        let text = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        if text.is_empty() || text.len() > MAX_ACTOR || text.contains(char::is_control) {
            return Err(AppError::Malformed(format!(
                "X-Actor is not a name; write 1 to {MAX_ACTOR} bytes of text"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Checks that `reason` can stand in the audit log.
///
/// # Errors
/// What to write instead.
pub fn check_reason(reason: &str) -> Result<(), AppError> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON {
        return Err(AppError::Unprocessable(format!(
            "reason is empty or too long; write why, in {MAX_REASON} bytes at most"
        )));
    }
    Ok(())
}
