//! The policy's JSON Schema, and the file that Kong reads it from.
//!
//! It is generated from [`raw::Policy`](super::raw::Policy) in draft-04, the only dialect that Kong accepts; Kong's
//! patterns are PCRE. A schema may accept more than the parser, which also knows what does not fit together, but never
//! less.

pub(super) mod value;

use schemars::generate::SchemaSettings;
use schemars::{Schema, transform};
use serde_json::{Value, json};

/// The dialect's name; Kong refuses any other.
const DRAFT_4: &str = "http://json-schema.org/draft-04/schema#";

/// The schema of a policy.
#[must_use]
pub fn config() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.meta_schema = Some(DRAFT_4.into());
        // No references: Kong has nothing to resolve, and its messages show the path in the policy.
        settings.inline_subschemas = true;
        settings.transforms.push(Box::new(transform::RecursiveTransform(one_line)));
        settings.transforms.push(Box::new(transform::RecursiveTransform(unknown_first)));
    });
    settings.into_generator().into_root_schema_for::<super::raw::Policy>().to_value()
}

/// The file that Kong reads beside the filter, `tollgate.meta.json`: the schema, and how a metric's name contains labels.
///
/// `requests;tier=free;outcome=allowed` becomes `requests{tier="free",outcome="allowed"}`: group 1 is cut from the name,
/// and group 2 is the value. Kong takes the end of the whole match for the end of group 1, so each pattern ends with it.
#[must_use]
pub fn meta() -> Value {
    let label = |name: &str| json!({ "label": name, "pattern": format!("(;{name}=([^;]+))") });
    json!({
        "config_schema": config(),
        "metrics": { "label_patterns": [label("tier"), label("outcome")] },
    })
}

/// Kong's validator stops at the first mistake, and checks required fields before unknown ones: for a misspelled `tierz` it
/// would say that tiers is required. It checks `allOf` last.
fn unknown_first(schema: &mut Schema) {
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return;
    }
    if let Some(required) = schema.remove("required") {
        schema.insert("allOf".to_owned(), json!([{ "required": required }]));
    }
}

/// Joins the lines of descriptions, which are doc comments.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
