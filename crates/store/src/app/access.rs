//! Who may call what: there is one token for gateways and another for admins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::problem::AppError;
use super::state::Store;

/// The tokens that this store accepts.
#[derive(Clone, Default)]
pub struct Tokens {
    /// For gateways and applications: leases, checks, and reading about one consumer.
    pub gateway: Option<String>,
    /// For admins and billing: everything.
    pub admin: Option<String>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// See [`Tokens::gateway`].
    Gateway,
    /// See [`Tokens::admin`].
    Admin,
}

impl Tokens {
    /// What a caller with these headers may do. A store without tokens listens on loopback only, and every caller is an
    /// admin.
    fn role(&self, headers: &HeaderMap) -> Option<Role> {
        if self.gateway.is_none() && self.admin.is_none() {
            return Some(Role::Admin);
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()))?;
        let is = |token: &Option<String>| {
            token.as_ref().is_some_and(|token| bool::from(token.as_bytes().ct_eq(given)))
        };
        // Both tokens are always compared, so that the time it takes does not tell which one was close.
        let (is_admin, is_gateway) = (is(&self.admin), is(&self.gateway));
        if is_admin {
            return Some(Role::Admin);
        }
        is_gateway.then_some(Role::Gateway)
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// What is known about a connection: whether a request on it has shown a token. Requests carry it as an extension.
#[derive(Debug, Default)]
pub struct Caller(AtomicBool);

impl Caller {
    /// Whether a request has shown a token, or the store asks for none.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which bearer token an endpoint wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// No token: the endpoint tells nothing about consumers.
    None,
    /// The gateways' token or the admins'.
    Either,
    /// The admins' token.
    Admin,
}

impl Token {
    /// Checks that a request has this token, and marks its connection accordingly.
    ///
    /// # Errors
    /// The request has no token, or another one.
    pub fn check(self, request: &Request, store: &Store) -> Result<(), AppError> {
        if self == Self::None {
            return Ok(());
        }
        let role = store.tokens.role(request.headers()).ok_or(AppError::Unauthorized)?;
        if let Some(caller) = request.extensions().get::<Arc<Caller>>() {
            caller.0.store(true, Ordering::Relaxed);
        }
        match (self, role) {
            (Self::Admin, Role::Gateway) => Err(AppError::Forbidden),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: &str) -> Option<Role> {
        let tokens =
            Tokens { gateway: Some("gateway-token-0001".into()), admin: Some("admin-token-000001".into()) };
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        tokens.role(&headers)
    }

    #[test]
    fn a_token_gives_its_role_and_nothing_else_gives_one() {
        assert_eq!(role("Bearer gateway-token-0001"), Some(Role::Gateway));
        assert_eq!(role("bearer  admin-token-000001"), Some(Role::Admin));
        for wrong in [
            "Bearer gateway-token-000",
            "Bearer ",
            "Bearer",
            "",
            "Basic gateway-token-0001",
            "gateway-token-0001",
        ] {
            assert_eq!(role(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_store_without_tokens_asks_for_none() {
        assert_eq!(Tokens::default().role(&HeaderMap::new()), Some(Role::Admin));
        let one = Tokens { gateway: Some("gateway-token-0001".into()), admin: None };
        assert_eq!(one.role(&HeaderMap::new()), None);
    }
}
