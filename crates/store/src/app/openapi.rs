//! `GET /openapi.json`: the description of the API, generated from its types and the table of endpoints.

mod bounds;

use axum::Json;
use axum::http::{Method, StatusCode};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, PathItem, Ref, RefOr, Response};

use super::access::Token;
use super::endpoints::{Described, Endpoint};
use super::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate store",
        description = "Rate limits and quotas over all gateways. Errors are application/problem+json."
    ),
    components(schemas(Problem))
)]
struct Api;

/// The endpoints' descriptions, with what the table says about each.
fn api() -> utoipa::openapi::OpenApi {
    let mut api = Api::openapi();
    api.merge(Described::openapi());
    let components = api.components.get_or_insert_default();
    for (name, whose) in [("gateway", "Of gateways and applications."), ("admin", "Of admins and billing.")] {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(whose)).build();
        components.add_security_scheme(name, SecurityScheme::Http(bearer));
    }
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            let token = Endpoint::of(path, &method).map_or(Token::None, |endpoint| endpoint.token);
            let schemes: &[&str] = match token {
                Token::None => &[],
                Token::Either => &["gateway", "admin"],
                Token::Admin => &["admin"],
            };
            if token != Token::None {
                let wants = |scheme: &&str| SecurityRequirement::new::<_, [&str; 0], &str>(*scheme, []);
                operation.security = Some(schemes.iter().map(wants).collect());
                add_problems(operation);
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                describe(status, response);
            }
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds the errors that any endpoint with a token may answer, where it does not name them itself.
fn add_problems(operation: &mut Operation) {
    let has_body = operation.request_body.is_some();
    let of_body: &[StatusCode] = if has_body {
        &[StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY]
    } else {
        &[]
    };
    let of_all = [
        StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    for status in of_all.iter().chain(of_body) {
        operation
            .responses
            .responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| RefOr::T(Response::default()));
    }
}

/// Adds a description if there is none, which OpenAPI requires, and the problem document to errors.
fn describe(status: &str, response: &mut Response) {
    let Ok(status) = StatusCode::from_bytes(status.as_bytes()) else { return };
    if response.description.is_empty() {
        response.description = status.canonical_reason().unwrap_or_default().to_owned();
    }
    if status.is_client_error() || status.is_server_error() {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        response.content.insert("application/problem+json".to_owned(), problem.into());
    }
}

/// The description, with the bounds of what requests may contain.
#[must_use]
pub fn description() -> Value {
    // The tests would find a description that cannot be written.
    let mut document = serde_json::to_value(api()).unwrap_or_default();
    bounds::add(&mut document);
    document
}

/// The description, as it is served.
pub async fn serve() -> Json<Value> {
    Json(description())
}
