//! Reads a document as a [`raw::Policy`]: which fields are required, which are allowed, and of which kind they are.
//!
//! `serde_json` would accept a list for a struct, and reports an unknown field without its place. So this file walks the
//! document, and puts serde's mistakes into our own words.

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use super::MINIMAL;
use super::value::shown;
use crate::policy::place::Place;
use crate::policy::{Problem, raw};

/// Reads the document's fields.
///
/// # Errors
/// The first field that is unknown, missing or of the wrong kind.
pub fn read(document: &Value) -> Result<raw::Policy, Problem> {
    if !document.is_object() {
        let message = format!("{} is not a policy; the smallest is {MINIMAL}", shown(document));
        return Err(Problem::new("", message));
    }
    let root = Node { value: document, place: Place::Root };
    raw::Policy::deserialize(root).map_err(|mistake| mistake.in_node(&root))
}

/// A mistake, first as serde reports it, then with its place.
#[derive(Debug)]
enum Mistake {
    Missing(&'static str),
    Unknown(String, &'static [&'static str]),
    NotA(String),
    At(Problem),
}

impl Mistake {
    /// This mistake as a problem in `node`.
    #[inline(never)]
    fn in_node(self, node: &Node<'_, '_>) -> Problem {
        let place = &node.place;
        match self {
            Self::At(problem) => problem,
            Self::Missing(field) => {
                Problem::new(place.field(field).to_string(), format!("is missing; write {}", example(field)))
            }
            Self::Unknown(field, known) => Problem::new(
                place.field(&field).to_string(),
                format!("is not a field; write one of {}, or remove it", known.join(", ")),
            ),
            Self::NotA(expected) => {
                Problem::new(place.to_string(), format!("{} is not {expected}", shown(node.value)))
            }
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, out)
    }
}

impl std::error::Error for Mistake {}

impl serde::de::Error for Mistake {
    #[inline(never)]
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::NotA(message.to_string())
    }

    #[inline(never)]
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::NotA(match expected.to_string() {
            // The only map that serde describes itself.
            map if map == "a map" => {
                "a mapping of names to tiers; write { free: { rate: 100/minute } }".to_owned()
            }
            described => described,
        })
    }

    #[inline(never)]
    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    #[inline(never)]
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown(field.to_owned(), known)
    }
}

/// An example of a missing `field`, for the message.
fn example(field: &str) -> &'static str {
    match field {
        "tiers" => "tiers: { free: { rate: 100/minute } }",
        "default_tier" => "default_tier: and the name of the tier for consumers whose tier nothing says",
        "anonymous" => "anonymous: { rate: 30/minute }, or anonymous: { rate: unlimited }",
        "rate" => "rate: 100/minute, or rate: unlimited",
        "path" => "path: /search, or path: /v1/* for all below it",
        "cost" => "cost: 1, or cost: 0 for what is never limited",
        "consumer" => "consumer: and the name of the consumer that the override is for",
        "tier" => "tier: and the name of one of the tiers",
        "upstream" => "upstream: 127.0.0.1:7600 (Kong), or the name of a cluster (Envoy)",
        _ => "it",
    }
}

/// The value at a place of the document.
#[derive(Clone, Copy)]
struct Node<'p, 'de> {
    value: &'de Value,
    place: Place<'p>,
}

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let read = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., value) => visitor.visit_f64(value.unwrap_or(f64::MAX)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(list) => {
                visitor.visit_seq(Entries { list: list.iter().enumerate(), place: self.place })
            }
            Value::Object(fields) => {
                visitor.visit_map(Fields { fields: fields.iter(), current: None, place: self.place })
            }
        };
        read.map_err(|mistake| Mistake::At(mistake.in_node(&self)))
    }

    /// Accepts a mapping only; serde's structs would also take a list of their fields.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        if self.value.is_object() {
            return self.deserialize_any(visitor);
        }
        let mistake = <Mistake as serde::de::Error>::invalid_type(Unexpected::Other(""), &visitor);
        Err(Mistake::At(mistake.in_node(&self)))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'p, 'de> {
    list: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    place: Place<'p>,
}

impl<'de> SeqAccess<'de> for Entries<'_, 'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some((index, value)) = self.list.next() else { return Ok(None) };
        seed.deserialize(Node { value, place: self.place.entry(index) }).map(Some)
    }
}

struct Fields<'p, 'de> {
    fields: serde_json::map::Iter<'de>,
    current: Option<(&'de String, &'de Value)>,
    place: Place<'p>,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        self.current = self.fields.next();
        let Some((name, _)) = self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        // Serde asks for a key first; without one there is no value.
        let (name, value) = self.current.map_or(("", &Value::Null), |(name, value)| (name.as_str(), value));
        seed.deserialize(Node { value, place: self.place.field(name) })
    }
}
