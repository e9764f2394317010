//! The bounds of what requests may contain, from the constants that the checks use.
//!
//! A type does not say how long a text may be. No bound here is stricter than its check. Where the check counts bytes,
//! the description counts characters.

use serde_json::{Map, Value, json};
use tollgate_core::name::MAX_TEXT;
use tollgate_core::policy::schema;
use tollgate_core::terms::EXACT;
use tollgate_core::wire;

use super::super::admin::{MAX_ACTOR, MAX_REASON, audit, customers};
use super::super::body;
use super::super::moment::{MAX_MOMENT, MONTH};
use super::super::name::{CONSUMER, MAX_NAMESPACE, MAX_TIER, NAMESPACE, TIER};
use super::super::reservation::{MAX_RESERVATION, RESERVATION};
use super::super::reserve::{MAX_ID, MAX_TTL};
use crate::customers::{MAX_CUSTOMER, MAX_PERIODS};

/// Adds the bounds to the API's description.
pub fn add(document: &mut Value) {
    add_to_schemas(document);
    add_to_operations(document);
}

fn of_namespace() -> Value {
    json!({ "pattern": NAMESPACE, "maxLength": MAX_NAMESPACE })
}

fn of_consumer() -> Value {
    json!({ "pattern": CONSUMER, "minLength": 1, "maxLength": MAX_TEXT })
}

fn of_reason() -> Value {
    json!({ "minLength": 1, "maxLength": MAX_REASON })
}

fn of_customer() -> Value {
    json!({ "pattern": CONSUMER, "minLength": 1, "maxLength": MAX_CUSTOMER })
}

fn of_day() -> Value {
    json!({ "maxLength": MAX_MOMENT })
}

fn add_to_schemas(document: &mut Value) {
    let policy = schema::config();
    let of_tier = |field: &str| {
        let field = format!("/properties/tiers/patternProperties/{TIER}/properties/{field}");
        or_null(policy.pointer(&field).cloned().unwrap_or_default())
    };
    let tier = json!({ "pattern": TIER, "maxLength": MAX_TIER });
    let cost = json!({ "minimum": 0, "maximum": EXACT as f64 / 1_000.0 });
    let properties = [
        ("Check", "namespace", of_namespace()),
        ("Check", "consumer", of_consumer()),
        ("Check", "tier", tier.clone()),
        ("Check", "cost", cost.clone()),
        ("Reserve", "namespace", of_namespace()),
        ("Reserve", "consumer", of_consumer()),
        ("Reserve", "tier", tier.clone()),
        ("Reserve", "cost", cost.clone()),
        ("Reserve", "id", json!({ "pattern": CONSUMER, "minLength": 1, "maxLength": MAX_ID })),
        ("Reserve", "ttl", json!({ "minimum": 1, "maximum": MAX_TTL })),
        ("Settle", "reservation", json!({ "pattern": RESERVATION, "maxLength": MAX_RESERVATION })),
        ("Settle", "cost", cost),
        ("OverrideSpec", "tier", tier),
        ("OverrideSpec", "rate", of_tier("rate")),
        ("OverrideSpec", "burst", of_tier("burst")),
        ("OverrideSpec", "monthly", of_tier("monthly")),
        ("OverrideSpec", "bonus", json!({ "minimum": 0, "maximum": EXACT / 1_000 })),
        ("OverrideSpec", "reason", of_reason()),
        ("OverrideSpec", "expires_at", json!({ "format": "date-time", "maxLength": MAX_MOMENT })),
        ("Reset", "reason", of_reason()),
        ("CustomerSpec", "customer", of_customer()),
        ("CustomerSpec", "starts_at", of_day()),
        ("CustomerSpec", "ends_at", of_day()),
        ("CustomerSpec", "reason", of_reason()),
        ("Customer", "periods", json!({ "maxItems": MAX_PERIODS })),
        ("CustomersOfOne", "periods", json!({ "maxItems": MAX_PERIODS })),
        ("Customers", "customers", json!({ "maxItems": customers::MOST })),
        ("Lines", "lines", json!({ "maxItems": audit::MOST })),
    ];
    for (schema, property, bounds) in properties {
        let place = document.pointer_mut(&format!("/components/schemas/{schema}/properties/{property}"));
        merge(place, bounds);
    }
}

fn add_to_operations(document: &mut Value) {
    let longest_header = wire::header::LONGEST.div_ceil(3).saturating_mul(4);
    let parameters = [
        ("namespace", of_namespace()),
        ("consumer", of_consumer()),
        ("month", json!({ "pattern": MONTH, "maxLength": 7 })),
        ("from", json!({ "format": "date", "maxLength": 10 })),
        ("to", json!({ "format": "date", "maxLength": 10 })),
        ("limit", json!({ "minimum": 1, "maximum": audit::MOST })),
        ("customer", of_customer()),
        ("after", json!({ "maxLength": MAX_TEXT })),
        ("from", of_day()),
        ("before", json!({ "minimum": 0, "maximum": u64::MAX })),
        ("reason", of_reason()),
        ("tollgate-batch", json!({ "pattern": "^[A-Za-z0-9_-]+$", "maxLength": longest_header })),
        ("x-actor", json!({ "pattern": CONSUMER, "minLength": 1, "maxLength": MAX_ACTOR })),
    ];
    for operation in operations(document) {
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
            if let Some((_, bounds)) = parameters.iter().find(|(known, _)| *known == name) {
                merge(parameter.get_mut("schema"), bounds.clone());
            }
        }
        let batch = "/requestBody/content/application~1vnd.tollgate.lease/schema";
        if let Some(batch) = operation.pointer_mut(batch) {
            *batch = json!({ "type": "string", "format": "binary", "maxLength": body::LONGEST_BATCH });
        }
    }
}

/// A field of a policy's tier that may also be null, without its description.
fn or_null(mut field: Value) -> Value {
    if let Some(field) = field.as_object_mut() {
        field.remove("description");
    }
    if let Some(kinds) = field.get_mut("type").and_then(Value::as_array_mut) {
        kinds.push("null".into());
    } else if let Some(choices) = field.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.push(json!({ "type": "null" }));
    }
    field
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// Adds `bounds` to the schema at `place`.
fn merge(place: Option<&mut Value>, bounds: Value) {
    if let (Some(Value::Object(schema)), Value::Object(bounds)) = (place, bounds) {
        schema.extend(bounds);
    }
}
