//! Every endpoint of the API, in one table.
//!
//! A row gives a handler its method, its metric label and the token that it wants. The routes, the metrics, the check
//! of tokens and the OpenAPI description all read this table. To add an endpoint, add a row and its handler.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};
use utoipa::OpenApi;

use super::access::Token;
use super::admin::{audit, customers, overrides, reset};
use super::state::Store;
use super::{check, health, leases, openapi, reserve, settle, usage};

/// One row of the table.
pub struct Endpoint {
    /// The route's path.
    pub path: &'static str,
    /// The method. GET also answers HEAD.
    pub method: Method,
    /// The `call` label of its metrics.
    pub label: &'static str,
    /// The token that a request has to have.
    pub token: Token,
}

/// The label of the endpoints for operators.
const OPERATORS: &str = "operators";

macro_rules! endpoints {
    (
        described { $($name:ident = $path:literal {
            $($method:ident, $label:expr, $token:ident, $module:ident::$handler:ident;)+
        })+ }
        undescribed { $($bare_path:literal {
            $bare_method:ident, $bare_label:expr, $bare_token:ident, $bare_module:ident::$bare_handler:ident;
        })+ }
    ) => {
        $(#[doc = concat!("`", $path, "`")] pub const $name: &str = $path;)+

        /// The rows. A request for a path with a method that the path does not have gets the label of the path's first
        /// row.
        const ENDPOINTS: &[Endpoint] = &[
            $($(Endpoint { path: $path, method: Method::$method, label: $label, token: Token::$token },)+)+
            $(Endpoint { path: $bare_path, method: Method::$bare_method, label: $bare_label, token: Token::$bare_token },)+
        ];

        /// The routes of all endpoints.
        pub fn routes() -> Router<Arc<Store>> {
            Router::new()
                $(.route($path, MethodRouter::new()$(.on(MethodFilter::$method, $module::$handler))+))+
                $(.route($bare_path, MethodRouter::new().on(MethodFilter::$bare_method, $bare_module::$bare_handler)))+
        }

        /// The handlers in the OpenAPI description.
        #[derive(OpenApi)]
        #[openapi(paths($($($module::$handler),+),+))]
        pub struct Described;
    };
}

endpoints! {
    described {
        LEASES = "/v1/leases" {
            POST, "leases", Either, leases::lend;
        }
        CHECK = "/v1/check" {
            POST, "check", Either, check::check;
        }
        RESERVE = "/v1/reserve" {
            POST, "reserve", Either, reserve::reserve;
        }
        SETTLE = "/v1/settle" {
            POST, "settle", Either, settle::settle;
        }
        ALL_USAGE = "/v1/usage/{namespace}" {
            GET, "usage_export", Admin, usage::all;
        }
        USAGE = "/v1/usage/{namespace}/{consumer}" {
            GET, "usage", Either, usage::one;
        }
        OVERRIDES = "/v1/overrides/{namespace}" {
            GET, "overrides", Either, overrides::list;
        }
        OVERRIDE = "/v1/overrides/{namespace}/{consumer}" {
            GET, "override", Either, overrides::get;
            PUT, "override_set", Admin, overrides::put;
            DELETE, "override_remove", Admin, overrides::delete;
        }
        CUSTOMERS = "/v1/customers/{namespace}" {
            GET, "customers", Admin, customers::list;
        }
        CUSTOMER = "/v1/customers/{namespace}/{consumer}" {
            GET, "customer", Admin, customers::get;
            PUT, "customer_set", Admin, customers::put;
            DELETE, "customer_remove", Admin, customers::delete;
        }
        AUDIT = "/v1/audit/{namespace}" {
            GET, "audit", Admin, audit::read;
        }
        RESET = "/v1/reset/{namespace}/{consumer}" {
            POST, "reset", Admin, reset::reset;
        }
        HEALTHZ = "/healthz" {
            GET, OPERATORS, None, health::healthz;
        }
        READYZ = "/readyz" {
            GET, OPERATORS, None, health::readyz;
        }
        METRICS = "/metrics" {
            GET, OPERATORS, None, health::metrics;
        }
    }
    undescribed {
        "/openapi.json" {
            GET, OPERATORS, None, openapi::serve;
        }
    }
}

impl Endpoint {
    /// The endpoint that answers `method` on a route's `path`.
    pub fn of(path: &str, method: &Method) -> Option<&'static Self> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        ENDPOINTS.iter().find(|endpoint| endpoint.path == path && endpoint.method == *wanted)
    }

    /// The metric label of a request for `path`, whether the path takes `method` or not.
    pub fn label(path: &str, method: &Method) -> &'static str {
        let of_path = || ENDPOINTS.iter().find(|endpoint| endpoint.path == path);
        Self::of(path, method).or_else(of_path).map_or("unknown", |endpoint| endpoint.label)
    }
}

/// Whether a request with this label is answered however busy the store is. A store that is busy must not look as if it
/// were dead.
pub fn is_always_answered(label: &str) -> bool {
    label == OPERATORS
}
