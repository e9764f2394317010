//! `GET /openapi.json`: the API, generated from its types.

mod bounds;

use axum::Json;
use axum::http::StatusCode;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, PathItem, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::problem::Problem;
use super::{audit, check, health, leases, overrides, reset, usage};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tollgate store", description = "Rate limits and quotas over all gateways. Errors are application/problem+json."),
    paths(
        leases::take, check::check, usage::one, usage::all, overrides::list, overrides::get, overrides::put,
        overrides::delete, audit::read, reset::reset, health::healthz, health::readyz, health::metrics
    ),
    components(schemas(Problem)),
    modifiers(&Tokens, &Problems)
)]
struct Api;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, whose) in
            [("gateway", "Of gateways and applications."), ("admin", "Of admins and billing.")]
        {
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(whose)).build();
            components.add_security_scheme(name, SecurityScheme::Http(bearer));
        }
    }
}

/// What every call may answer beside what it says itself, and that all of it is a [`Problem`].
struct Problems;

impl Modify for Problems {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            for operation in operations(item) {
                if path.starts_with("/v1/") {
                    add_problems(operation);
                }
                let responses = &mut operation.responses.responses;
                for (status, response) in responses {
                    let RefOr::T(response) = response else { continue };
                    describe(status, response);
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

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

/// A description where there is none, which OpenAPI wants; and of an error the document.
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

/// The description, with the bounds of what requests may say.
#[must_use]
pub fn description() -> Value {
    // A description that cannot be written would be found by the first test that looks at it.
    let mut document = serde_json::to_value(Api::openapi()).unwrap_or_default();
    bounds::add(&mut document);
    document
}

/// The description, as it is served.
pub async fn serve() -> Json<Value> {
    Json(description())
}
