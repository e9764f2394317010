//! The schemas of single values: what `parse` accepts, as far as a pattern or a range can say it.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::policy::raw;

type Generator = SchemaGenerator;

/// Separates policies.
pub fn namespace(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "default": "default" })
}

/// What happens to a request that a limit refuses.
pub fn enforcement(_: &mut Generator) -> Schema {
    // An unquoted `off` is false to the YAML readers of Kong and Envoy.
    json_schema!({ "enum": ["enforce", "shadow", "off", false], "default": "enforce" })
}

/// Tiers by name.
pub fn tiers(generator: &mut Generator) -> Schema {
    let tier = generator.subschema_for::<raw::Tier>();
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 64,
        "patternProperties": { "^[a-z][a-z0-9_-]{0,31}$": tier },
        "additionalProperties": false,
        "not": { "required": ["anonymous"] },
    })
}

/// The name of a tier; the parser checks that it exists.
pub fn tier_name(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,31}$" })
}

const RATE: &str = "^([1-9][0-9]{0,8}|1000000000)/(second|minute|hour|day)$";

/// One rate, or a list of rates.
pub fn rate(generator: &mut Generator) -> Schema {
    let burst = burst(generator);
    let one = json_schema!({ "type": "string", "pattern": RATE });
    json_schema!({
        "anyOf": [
            one,
            { "enum": ["unlimited"] },
            {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {
                    "anyOf": [
                        one,
                        {
                            "type": "object",
                            "required": ["rate"],
                            "properties": { "rate": one, "burst": burst },
                            "additionalProperties": false,
                        },
                    ],
                },
            },
        ],
    })
}

/// A bucket's size. The parser checks for at most two decimals, since Kong's `multipleOf` divides doubles.
pub fn burst(_: &mut Generator) -> Schema {
    number(1, 1000, r"^([1-9][0-9]{0,2}(\.[0-9]{1,2}0*)?|1000(\.0+)?)$")
}

/// A number, or text that matches `pattern`, which Envoy's YAML reader makes of some numbers.
fn number(least: u64, greatest: u64, pattern: &str) -> Schema {
    json_schema!({ "type": ["number", "string"], "minimum": least, "maximum": greatest, "pattern": pattern })
}

/// A number without decimals. It is not `integer`: 50000.0 is one to Kong and the parser, but not to draft-04.
fn whole_number(least: u64, greatest: u64, pattern: &str) -> Schema {
    let mut schema = number(least, greatest, pattern);
    schema.insert("multipleOf".to_owned(), 1.into());
    schema
}

/// Cost units per month.
pub fn monthly(_: &mut Generator) -> Schema {
    whole_number(1, 100_000_000_000, r"^(unlimited|([1-9][0-9]{0,10}|100000000000)(\.0+)?)$")
}

/// What to do when the store cannot be asked.
pub fn on_failure(_: &mut Generator) -> Schema {
    json_schema!({ "enum": ["local", "ip", "open", "closed"] })
}

/// Names separated by dots.
pub fn property(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^[!-\-/-~]+(\.[!-\-/-~]+)*$", "maxLength": 512 })
}

/// A token (RFC 9110, 5.6.2).
pub fn header(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" })
}

/// A path; the parser checks its segments.
pub fn path(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^/[^?#]*$" })
}

/// Methods in capital letters.
pub fn methods(_: &mut Generator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "uniqueItems": true,
        "items": { "type": "string", "pattern": "^[A-Z][A-Z0-9_-]{0,31}$" },
    })
}

/// Cost units of a request; the parser checks for at most three decimals.
pub fn cost(_: &mut Generator) -> Schema {
    number(0, 1_000_000, r"^((0|[1-9][0-9]{0,5})(\.[0-9]{1,3}0*)?|1000000(\.0+)?)$")
}

/// Whether a response may settle a cost.
pub fn settle(_: &mut Generator) -> Schema {
    json_schema!({ "type": "boolean", "default": false })
}

/// Statuses: classes and codes.
pub fn refund(_: &mut Generator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": {
            "type": ["string", "number"],
            "pattern": "^[1-5]([0-9]{2}|xx)$",
            "minimum": 100,
            "maximum": 599,
            "multipleOf": 1,
        },
    })
}

/// A consumer; the parser counts bytes, not characters.
pub fn consumer(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^[^\x00-\x1f\x7f]+$", "maxLength": 256 })
}

/// On or off.
pub fn switch(_: &mut Generator) -> Schema {
    json_schema!({ "type": "boolean", "default": true })
}

/// The store's address.
pub fn upstream(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[!-~]{1,255}$" })
}

/// How to use the store.
pub fn mode(_: &mut Generator) -> Schema {
    json_schema!({ "enum": ["leased", "strict"], "default": "leased" })
}

/// A duration from 1 ms to 10 s.
pub fn timeout(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([1-9][0-9]{0,3}ms|10000ms|[1-9]s|10s)$", "default": "50ms" })
}

/// A duration from 10 ms to 10 s.
pub fn sync_interval(_: &mut Generator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([1-9][0-9]{1,3}ms|10000ms|[1-9]s|10s)$", "default": "100ms" })
}

/// A token, or the environment variable that holds it.
pub fn token(_: &mut Generator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "pattern": "^[!-~]{16,512}$" },
            {
                "type": "object",
                "required": ["env"],
                "properties": { "env": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$" } },
                "additionalProperties": false,
            },
        ],
    })
}

/// The number of client records.
pub fn clients(_: &mut Generator) -> Schema {
    let mut schema = whole_number(64, 1_048_576, r"^[1-9][0-9]{1,6}(\.0+)?$");
    schema.insert("default".to_owned(), 65_536.into());
    schema
}
