//! `GET /openapi.json`: the API, generated from its types.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{audit, check, health, leases, overrides, reset, usage};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tollgate store", description = "Rate limits and quotas over all gateways. Errors are application/problem+json."),
    paths(
        leases::take, check::check, usage::one, usage::all, overrides::list, overrides::get, overrides::put,
        overrides::delete, audit::read, reset::reset, health::healthz, health::readyz, health::metrics
    ),
    modifiers(&Tokens)
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

/// The description.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The description, as it is served.
pub async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}
