//! The sample consumers, the same in `kong/kong.yml` and `envoy/envoy.yaml`, and their credentials.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};

/// The issuer of the sample tokens.
pub const ISSUER: &str = "https://login.example.com";

/// The key that signs the sample tokens (HS256).
pub const SECRET: &str = "sample-secret-of-the-jwt-issuer-0123456789";

/// The browser origin that the gateways' CORS settings allow.
pub const ORIGIN: &str = "https://app.example.com";

/// A sample consumer's API key.
#[must_use]
pub fn key(consumer: &str) -> String {
    format!("{consumer}-key")
}

/// A signed token for a consumer, valid until `expires` after the epoch.
#[must_use]
pub fn token(consumer: &str, expires: Duration) -> String {
    signed(consumer, expires, SECRET)
}

/// A token signed with any secret, so a wrong one is possible.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn signed(consumer: &str, expires: Duration, secret: &str) -> String {
    let claims = format!(r#"{{"exp":{},"iss":"{ISSUER}","sub":"{consumer}"}}"#, expires.as_secs());
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let text = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(&claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("every length is taken");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The time now, for a token's expiry.
#[allow(clippy::disallowed_methods, reason = "a token that a real gateway checks needs the real time")]
#[must_use]
pub fn in_an_hour() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now + Duration::from_secs(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_rfc_7515_says() {
        // Python's hmac module computed this.
        let token = signed("acme-mobile", Duration::from_secs(1_900_000_000), "secret");
        let wanted = concat!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
            "eyJleHAiOjE5MDAwMDAwMDAsImlzcyI6Imh0dHBzOi8vbG9naW4uZXhhbXBsZS5jb20iLC",
            "JzdWIiOiJhY21lLW1vYmlsZSJ9.",
            "6T7GipVk_SmZS7tkNBBngWCCoZyseJxhTR8fL5MWtm4",
        );
        assert_eq!(token, wanted);
    }
}
