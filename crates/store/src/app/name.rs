//! Names of namespaces, consumers and tiers in paths and bodies.

use crate::accounts::month_of;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::name::{self, MAX_TEXT, Named};
use tollgate_core::units::UnixMicros;

use super::problem::AppError;
use crate::backend::Backend;

/// The longest namespace, in bytes: a rule of policies.
pub const MAX_NAMESPACE: usize = 64;

/// What [`namespace`] accepts, as a regular expression for the API's description.
pub const NAMESPACE: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// What [`consumer`] accepts, as far as a regular expression can say it.
pub const CONSUMER: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// Where the consumer is in paths such as `/v1/usage/{namespace}/{consumer}`.
const CONSUMER_SEGMENT: usize = 4;

/// The longest name of a tier, in bytes: a rule of policies.
pub const MAX_TIER: usize = 32;

/// What [`is_tier`] accepts, as a regular expression for the API's description.
pub const TIER: &str = "^[a-z][a-z0-9_-]{0,31}$";

/// Checks that `name` can be a policy's namespace.
///
/// # Errors
/// It cannot; the error says what to write.
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

/// The consumer of `namespace` that `text` names: see [`tollgate_core::name`].
///
/// # Errors
/// The text is no name; the error says what to write.
pub fn consumer(text: &str, namespace: &Namespace) -> Result<Named, AppError> {
    let named = if text.chars().nth(MAX_TEXT).is_none() { name::read(text, namespace) } else { None };
    named.ok_or_else(|| no_consumer(text.as_bytes()))
}

fn no_consumer(name: &[u8]) -> AppError {
    const SHOWN: usize = 200;
    if name.is_empty() || name.len() > MAX_TEXT {
        return AppError::Malformed(format!(
            "that is not a consumer's name; write 1 to {MAX_TEXT} characters"
        ));
    }
    let spelled: String = name::spelled(name.get(..SHOWN).unwrap_or(name));
    let more = if name.len() > SHOWN { "…" } else { "" };
    AppError::Malformed(format!(
        "listings write this consumer's name in another way: a name that has control characters, is not UTF-8 or begins with %: \
         is written as %: and its bytes, percent-encoded; write {spelled}{more}"
    ))
}

/// Whether a policy can have a tier with this name. `anonymous` is one, too.
#[must_use]
pub fn is_tier(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    name.len() <= MAX_TIER
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(rest)
}

/// The `{namespace}` of a path.
pub struct NamespacePath(pub String);

/// The `{namespace}/{consumer}` of a path.
pub struct ConsumerPath {
    /// The namespace.
    pub namespace: String,
    /// The consumer, as listings write it.
    pub consumer: String,
    /// The consumer's identifier.
    pub client: ClientId,
    is_whole: bool,
}

impl ConsumerPath {
    /// Checks that listings have the consumer by this name, if the name is the beginning of a long one. Another
    /// beginning with the same identifier would be a second name of the same consumer.
    ///
    /// # Errors
    /// Listings do not have the name, or the backend fails.
    pub async fn check_listed(&self, backend: &dyn Backend, now: UnixMicros) -> Result<(), AppError> {
        if self.is_whole {
            return Ok(());
        }
        let usage = backend.usage(&self.namespace, self.client, month_of(now)).await?;
        let name = usage.and_then(|usage| usage.name).unwrap_or_default();
        if name::text(&name, self.client) == self.consumer {
            return Ok(());
        }
        Err(AppError::NotFound(
            "no gateway has sent a consumer with this long name; write the name as usage lists it, or in full"
                .to_owned(),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamespacePath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let name: String = segments(parts, state).await?;
        namespace(&name)?;
        Ok(Self(name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ConsumerPath {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let (place, text): (String, String) = segments(parts, state).await?;
        let named = consumer(&text, &Namespace::new(namespace(&place)?))?;
        Ok(Self { namespace: place, consumer: named.text, client: named.client, is_whole: named.is_whole })
    }
}

async fn segments<T: DeserializeOwned + Send, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, AppError> {
    if let Ok(Path(segments)) = Path::from_request_parts(parts, state).await {
        return Ok(segments);
    }
    // A name may be bytes that are not UTF-8, but has to be spelled in another way.
    let name = parts.uri.path().split('/').nth(CONSUMER_SEGMENT).unwrap_or_default();
    let name: Vec<u8> = percent_encoding::percent_decode_str(name).collect();
    if std::str::from_utf8(&name).is_err() {
        return Err(no_consumer(&name));
    }
    Err(AppError::Malformed("the path is not UTF-8 once its percent signs are decoded".to_owned()))
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
        let n = Namespace::new("n");
        for good in ["acme", "a/b ä 中", "%:caf%E9", &"n".repeat(1_024), &"n".repeat(MAX_TEXT)] {
            assert!(consumer(good, &n).is_ok(), "{good}");
        }
        for bad in ["", "a\0b", "a\nb", "\u{85}", "%:acme", &"n".repeat(MAX_TEXT + 1)] {
            assert!(consumer(bad, &n).is_err(), "{bad}");
        }
        assert!(
            is_tier("anonymous") && is_tier("a-1_b") && !is_tier("Pro") && !is_tier("") && !is_tier("1a")
        );
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _ = (namespace(&text), consumer(&text, &Namespace::new("n")), is_tier(&text));
        }
    }
}
