//! Reads JSON text as a [`Value`] and reports every repeated key, where `serde_json` alone would keep the last one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::MINIMAL;
use crate::policy::Problem;
use crate::policy::place::Place;

/// The longest policy that is read, in bytes: it has room for 10,000 endpoints.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads JSON text.
///
/// # Errors
/// What is wrong with the text as JSON.
pub fn read(text: &[u8]) -> Result<Value, Vec<Problem>> {
    let whole = |message: String| vec![Problem::new("", message)];
    if text.len() > MAX_BYTES {
        return Err(whole(format!(
            "the policy has {} bytes; at most {MAX_BYTES} are allowed: write a prefix (/v1/*) for endpoints that cost the same",
            text.len()
        )));
    }
    if text.trim_ascii().is_empty() {
        return Err(whole(format!(
            "there is no policy, and the filter needs one; the smallest is {MINIMAL}"
        )));
    }
    let mut twice = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Node { place: Place::Root, twice: &mut twice }
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| whole(format!("the policy is not JSON: {error}")))?;
    if twice.is_empty() { Ok(value) } else { Err(twice) }
}

/// Reads the value at `place`.
struct Node<'a> {
    place: Place<'a>,
    twice: &'a mut Vec<Problem>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) =
            entries.next_element_seed(Node { place: self.place.entry(list.len()), twice: self.twice })?
        {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = self.place.field(&name);
            let value = fields.next_value_seed(Node { place, twice: self.twice })?;
            if map.contains_key(&name) && self.twice.len() < super::MAX_PROBLEMS {
                self.twice.push(Problem::new(place.to_string(), "is written twice; keep one of them"));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}
