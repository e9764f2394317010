//! The policy's JSON Schema, and the file that Kong reads it from.
//!
//! Generated from [`raw::Policy`](super::raw::Policy) in draft-04, the one dialect that Kong takes; patterns go to PCRE
//! there. A schema says less than the parser, which also knows what does not fit together; never more.

pub(super) mod value;

use schemars::generate::SchemaSettings;
use schemars::{Schema, transform};
use serde_json::{Value, json};

/// The dialect's name; Kong refuses another.
const DRAFT_4: &str = "http://json-schema.org/draft-04/schema#";

/// The schema of a policy.
#[must_use]
pub fn config() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.meta_schema = Some(DRAFT_4.into());
        // Without references: nothing to resolve, and a message of Kong's shows the path in the policy.
        settings.inline_subschemas = true;
        settings.transforms.push(Box::new(transform::RecursiveTransform(one_line)));
        settings.transforms.push(Box::new(transform::RecursiveTransform(unknown_first)));
    });
    settings.into_generator().into_root_schema_for::<super::raw::Policy>().to_value()
}

/// What Kong reads beside the filter as `tollgate.meta.json`: the schema, and how labels stand in a metric's name.
///
/// `requests;tier=free;outcome=allowed` becomes `requests{tier="free",outcome="allowed"}`: group 1 is cut from the name,
/// group 2 is the value. Kong takes the end of the whole match for the end of group 1, so each pattern ends with it.
#[must_use]
pub fn meta() -> Value {
    let label = |name: &str| json!({ "label": name, "pattern": format!("(;{name}=([^;]+))") });
    json!({
        "config_schema": config(),
        "metrics": { "label_patterns": [label("tier"), label("outcome")] },
    })
}

/// Kong's validator ends at the first thing that it finds wrong, and looks for required fields before it looks for unknown
/// ones: of a misspelt `tierz` it would say that tiers is required. What stands in `allOf` it looks at last.
fn unknown_first(schema: &mut Schema) {
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return;
    }
    if let Some(required) = schema.remove("required") {
        schema.insert("allOf".to_owned(), json!([{ "required": required }]));
    }
}

/// Descriptions are doc comments, broken where the source is.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
