//! What happens around every request: it is bounded in number and time, its token is checked, and it is counted and
//! timed.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::access::Token;
use super::endpoints::{Endpoint, is_always_answered};
use super::problem::AppError;
use super::state::Store;

/// See the [module](self).
pub async fn admit(
    State(store): State<Arc<Store>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    let label = Endpoint::label(path, request.method());
    let token = Endpoint::of(path, request.method()).map_or(Token::None, |endpoint| endpoint.token);
    let response = match store.requests.try_acquire() {
        Ok(_permit) => answer(&store, token, request, next).await,
        Err(_) if is_always_answered(label) => answer(&store, token, request, next).await,
        Err(_) => AppError::Overloaded("the store is too busy; try again").into_response(),
    };
    store.metrics.requests.with_label_values(&[label, outcome(response.status())]).inc();
    store.metrics.request_seconds.with_label_values(&[label]).observe(began.elapsed().as_secs_f64());
    response
}

/// The handler's answer, if the request has the `token` and the handler is done in time.
async fn answer(store: &Store, token: Token, request: Request, next: Next) -> Response {
    if let Err(refused) = token.check(&request, store) {
        return refused.into_response();
    }
    timeout(store.bounds.request_time, next.run(request)).await.unwrap_or_else(|_| {
        AppError::Overloaded("the request timed out; send less, or try again").into_response()
    })
}

/// The `outcome` label of a status.
const fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        0..400 => "ok",
        401 | 403 => "denied",
        400..500 => "invalid",
        503 => "unavailable",
        _ => "error",
    }
}
