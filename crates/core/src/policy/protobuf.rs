//! Reads a `google.protobuf.Struct` in binary form as the JSON that it stands for. Envoy passes a plugin's configuration
//! like this if it was written as one.
//!
//! ```text
//! Struct    { 1: repeated Entry { 1: string key, 2: Value value } }
//! Value     { 1: null (varint) | 2: number (fixed64) | 3: string | 4: bool (varint) | 5: Struct | 6: ListValue }
//! ListValue { 1: repeated Value }
//! ```

use serde_json::{Map, Number, Value};

/// The deepest nesting that is read, deeper than any policy's: no input may exhaust the stack.
const MAX_DEPTH: u32 = 32;

/// The JSON object that `bytes` stand for; `None` if they are no Struct.
#[must_use]
pub fn read_struct(bytes: &[u8]) -> Option<Value> {
    structure(bytes, MAX_DEPTH)
}

fn structure(bytes: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (1, Content::Bytes(entry)) = field? else { return None };
        let (mut key, mut value) = (String::new(), Value::Null);
        for field in Fields(entry) {
            match field? {
                (1, Content::Bytes(text)) => key = String::from_utf8(text.to_vec()).ok()?,
                (2, Content::Bytes(bytes)) => value = self::value(bytes, depth)?,
                _ => return None,
            }
        }
        object.insert(key, value);
    }
    Some(Value::Object(object))
}

fn value(bytes: &[u8], depth: u32) -> Option<Value> {
    let mut value = Value::Null;
    for field in Fields(bytes) {
        value = match field? {
            (1, Content::Number(_)) => Value::Null,
            (2, Content::Double(number)) => number_of(number)?,
            (3, Content::Bytes(text)) => Value::String(String::from_utf8(text.to_vec()).ok()?),
            (4, Content::Number(truth)) => Value::Bool(truth != 0),
            (5, Content::Bytes(bytes)) => structure(bytes, depth)?,
            (6, Content::Bytes(bytes)) => list(bytes, depth)?,
            _ => return None,
        };
    }
    Some(value)
}

fn list(bytes: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let values = Fields(bytes).map(|field| match field? {
        (1, Content::Bytes(bytes)) => value(bytes, depth),
        _ => None,
    });
    values.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// A whole number as an integer: 50000 was one before a Struct made it a double.
fn number_of(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

/// A field's content, by its wire type.
enum Content<'a> {
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    /// The field's number and content; `None` if the message is broken there.
    type Item = Option<(u64, Content<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Number(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Content::Double(f64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Content::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, content))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn message(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let varint = |mut number: usize| {
            let mut bytes = Vec::new();
            while number > 0x7F {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
            bytes
        };
        fields
            .iter()
            .flat_map(|(number, bytes)| [vec![number << 3 | 2], varint(bytes.len()), bytes.clone()].concat())
            .collect()
    }

    fn of_value(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Bool(truth) => vec![4 << 3, u8::from(*truth)],
            Value::Number(number) => {
                [vec![2 << 3 | 1], number.as_f64().unwrap().to_le_bytes().to_vec()].concat()
            }
            Value::String(text) => message(&[(3, text.clone().into_bytes())]),
            Value::Array(list) => {
                let values: Vec<_> = list.iter().map(|value| (1, of_value(value))).collect();
                message(&[(6, message(&values))])
            }
            Value::Object(_) => message(&[(5, of_struct(value))]),
        }
    }

    fn of_struct(value: &Value) -> Vec<u8> {
        let entry = |(key, value): (&String, &Value)| {
            (1, message(&[(1, key.clone().into_bytes()), (2, of_value(value))]))
        };
        message(&value.as_object().unwrap().iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn a_struct_is_the_json_it_stands_for() {
        // Envoy 1.40 passes `{a: 1}` like this.
        assert_eq!(read_struct(b"\x0a\x0e\x0a\x01a\x12\x09\x11\0\0\0\0\0\0\xf0\x3f"), Some(json!({"a": 1})));
        let policy = json!({
            "tiers": {"free": {"rate": "100/minute", "burst": 1.5, "monthly": 50_000}},
            "endpoints": [{"path": "/health", "cost": 0}, {"path": "/x", "methods": ["GET"], "cost": 0.125}],
            "headers": {"ietf": true, "x_ratelimit": false}, "nothing": null, "text": "x".repeat(300), "empty": {}, "none": [],
        });
        assert_eq!(read_struct(&of_struct(&policy)), Some(policy));
        assert_eq!(read_struct(b""), Some(json!({})));
    }

    #[test]
    fn what_is_no_struct_is_none() {
        for bytes in [
            b"\n{}".as_slice(),
            b"\x0a",
            b"\x0a\xff",
            b"\x0b\x01",
            b"\x12\x00",
            &[0xFF; 20],
            b"\x0a\x05\x0a\x03\xff\xfe\xfd",
        ] {
            assert_eq!(read_struct(bytes), None, "{bytes:?}");
        }
        let mut deep = json!({});
        for _ in 0..40 {
            deep = json!({ "a": deep });
        }
        assert_eq!(read_struct(&of_struct(&deep)), None);
        assert_eq!(read_struct(&of_struct(&json!({"a": {"b": 1}}))[..12]), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read_struct(&bytes);
        }
    }
}
