//! Names in paths and bodies: whose, and in which namespace.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tollgate::lease::wire::MAX_NAME;

use super::problem::AppError;

/// The longest namespace, bytes; a policy's rule.
const MAX_NAMESPACE: usize = 64;

/// What [`namespace`] takes, as a regular expression for the API's description.
pub const NAMESPACE: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// What [`consumer`] takes, but for names of more than one byte a character, which may have fewer.
pub const CONSUMER: &str = r"^[^\u0000-\u001f\u007f-\u009f]{1,1024}$";

/// `name` if it is one that a policy may have.
///
/// # Errors
/// What to write.
pub fn namespace(name: &str) -> Result<&str, AppError> {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if starts && name.len() <= MAX_NAMESPACE && name.bytes().all(rest) {
        return Ok(name);
    }
    Err(AppError::Malformed(format!(
        "that is not a namespace; write letters, digits, ., _ or -, {MAX_NAMESPACE} at most, the first a letter or digit"
    )))
}

/// `name` if it can be a consumer's.
///
/// # Errors
/// What to write.
pub fn consumer(name: &str) -> Result<&str, AppError> {
    if !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control) {
        return Ok(name);
    }
    Err(AppError::Malformed(format!(
        "that is not a consumer's name; write 1 to {MAX_NAME} bytes of UTF-8 without control characters"
    )))
}

/// Whether a tier can be called so; a policy's rule, which also holds for `anonymous`.
#[must_use]
pub fn is_tier(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    name.len() <= 32
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(rest)
}

/// The `{namespace}` of a path.
pub struct Place(pub String);

/// The `{namespace}/{consumer}` of a path.
pub struct Whose {
    /// Where.
    pub namespace: String,
    /// Who.
    pub consumer: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let name: String = segments(parts, state).await?;
        namespace(&name)?;
        Ok(Self(name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Whose {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let (place, name): (String, String) = segments(parts, state).await?;
        namespace(&place)?;
        consumer(&name)?;
        Ok(Self { namespace: place, consumer: name })
    }
}

async fn segments<T: DeserializeOwned + Send, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, AppError> {
    let read = Path::from_request_parts(parts, state).await;
    read.map(|Path(segments)| segments).map_err(|_| {
        AppError::Malformed("the path is not UTF-8 once its percent signs are decoded".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_what_a_policy_may_have() {
        for good in ["default", "a", "Fingerprint.v2_x-y", &"n".repeat(64)] {
            assert!(namespace(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "-a", "a b", "a/b", "ä", &"n".repeat(65)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
        for good in ["acme", "a/b ä 中", &"n".repeat(1_024)] {
            assert!(consumer(good).is_ok(), "{good}");
        }
        for bad in ["", "a\0b", "a\nb", "\u{85}", &"n".repeat(1_025)] {
            assert!(consumer(bad).is_err(), "{bad}");
        }
        assert!(
            is_tier("anonymous") && is_tier("a-1_b") && !is_tier("Pro") && !is_tier("") && !is_tier("1a")
        );
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _ = (namespace(&text), consumer(&text), is_tier(&text));
        }
    }
}
