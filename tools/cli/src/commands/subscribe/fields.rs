//! Messages of types that this program doesn't have, as JSON.
//!
//! | in the type | in JSON |
//! |---|---|
//! | struct with named fields | object |
//! | tuple, tuple struct; of one field | array; that field |
//! | enum variant without fields; with some | `"Name"`; `{"Name": …}` |
//! | option, result | the value or null; `{"Ok": …}` or `{"Err": …}` |
//! | integers that 64 bits don't hold, NaN and infinite floats | string |
//! | `[u8; n]`, `Vec<u8>` | `{"text": …}` if it is plain text, else `{"hex": …}` |
//! | map with keys that are text, numbers or names; other maps | object; array of pairs |
//! | what only a wrapper can read | `{"opaque": wrapper, "hex": …}` |

use std::rc::Rc;

use memlane::{Shape, Topic, Value};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::print::hex;
use crate::commands::ending::complain;

/// How messages of `topic` are read, if it says so.
pub(super) fn shape_of(topic: &Topic) -> Option<Rc<Shape>> {
    let text = topic.description().map_err(|error| error.to_string()).transpose()?;
    let shape = text.and_then(|text| Shape::parse(&text).map_err(|error| error.to_string()));
    let said = |error| complain(&format!("topic {}: {error}; messages are printed as bytes", topic.name()));
    shape.map_err(said).ok().map(Rc::new)
}

/// How messages are read that `text` describes, if it does.
pub(in crate::commands) fn shape_of_text(text: &str) -> Option<Rc<Shape>> {
    let said = |error| complain(&format!("the description of the messages' type: {error}; they are printed as bytes"));
    Shape::parse(text).map_err(said).ok().map(Rc::new)
}

/// A value, to be written as JSON.
#[derive(Debug)]
pub(in crate::commands) struct Shown<'a>(pub(in crate::commands) &'a Value<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Unit | Value::Option(None) => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Char(letter) => serializer.serialize_char(*letter),
            Value::Unsigned(number) => match u64::try_from(*number) {
                Ok(number) => serializer.serialize_u64(number),
                Err(_) => serializer.collect_str(number),
            },
            Value::Signed(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.collect_str(number),
            },
            Value::Single(number) if number.is_finite() => serializer.serialize_f32(*number),
            Value::Single(number) => serializer.collect_str(number),
            Value::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Double(number) => serializer.collect_str(number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => bytes_as_map(bytes, serializer),
            Value::List(values) => serializer.collect_seq(values.iter().map(Shown)),
            Value::Map(entries) => map(entries, serializer),
            Value::Option(Some(value)) => Shown(value).serialize(serializer),
            Value::Result(Ok(value)) => serializer.collect_map([("Ok", Shown(value))]),
            Value::Result(Err(value)) => serializer.collect_map([("Err", Shown(value))]),
            Value::Struct { fields, .. } => Fields(fields).serialize(serializer),
            Value::Variant { name, fields } if fields.is_empty() => serializer.serialize_str(name),
            Value::Variant { name, fields } => serializer.collect_map([(name, Fields(fields))]),
            Value::Opaque { wrapper, bytes } => {
                serializer.collect_map([("opaque", (*wrapper).to_owned()), ("hex", hex(bytes))])
            }
        }
    }
}

/// Those of a struct, or of a variant that has some.
struct Fields<'a>(&'a [(&'a str, Value<'a>)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [("0", only)] => Shown(only).serialize(serializer),
            [("0", _), ..] => serializer.collect_seq(self.0.iter().map(|(_, value)| Shown(value))),
            fields => serializer.collect_map(fields.iter().map(|(name, value)| (name, Shown(value)))),
        }
    }
}

fn bytes_as_map<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => serializer.collect_map([("text", text)]),
        _ => serializer.collect_map([("hex", hex(bytes))]),
    }
}

/// What a key is called in an object, if it can be.
fn key(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) => Some((*text).to_owned()),
        Value::Unsigned(number) => Some(number.to_string()),
        Value::Signed(number) => Some(number.to_string()),
        Value::Char(letter) => Some(letter.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Variant { name, fields } if fields.is_empty() => Some((*name).to_owned()),
        _ => None,
    }
}

fn map<S: Serializer>(entries: &[(Value<'_>, Value<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    let keys: Option<Vec<_>> = entries.iter().map(|(name, _)| key(name)).collect();
    let Some(keys) = keys else {
        let mut pairs = serializer.serialize_seq(Some(entries.len()))?;
        for (key, value) in entries {
            pairs.serialize_element(&(Shown(key), Shown(value)))?;
        }
        return pairs.end();
    };
    let mut object = serializer.serialize_map(Some(entries.len()))?;
    for (key, (_, value)) in keys.iter().zip(entries) {
        object.serialize_entry(key, &Shown(value))?;
    }
    object.end()
}

/// A value on a line: a struct as `name=value`, everything else as JSON.
pub(super) fn as_line(value: &Value<'_>) -> serde_json::Result<String> {
    match value {
        Value::Struct { fields, .. } if fields.first().is_some_and(|field| field.0 != "0") => {
            let field =
                |(name, value): &(&str, Value<'_>)| Ok(format!("{name}={}", serde_json::to_string(&Shown(value))?));
            Ok(fields.iter().map(field).collect::<serde_json::Result<Vec<_>>>()?.join(" "))
        }
        value => serde_json::to_string(&Shown(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: Value<'_>) -> String {
        serde_json::to_string(&Shown(&value)).unwrap()
    }

    #[test]
    fn values_are_shown_as_other_programs_would_write_them() {
        let one = || Value::Unsigned(1);
        assert_eq!(json(Value::Unsigned(u128::MAX)), "\"340282366920938463463374607431768211455\"");
        assert_eq!(json(Value::List(vec![Value::Double(f64::NAN), Value::Single(0.1)])), "[\"NaN\",0.1]");
        assert_eq!(
            json(Value::List(vec![Value::Bytes(b"ZIEX "), Value::Bytes(b"\0\xff")])),
            "[{\"text\":\"ZIEX \"},{\"hex\":\"00ff\"}]"
        );
        assert_eq!(json(Value::Struct { name: "Id", fields: vec![("0", one())] }), "1");
        assert_eq!(json(Value::Struct { name: "Pair", fields: vec![("0", one()), ("1", one())] }), "[1,1]");
        assert_eq!(json(Value::Variant { name: "Buy", fields: vec![] }), "\"Buy\"");
        assert_eq!(
            json(Value::Variant { name: "New", fields: vec![("b", one()), ("a", one())] }),
            "{\"New\":{\"b\":1,\"a\":1}}"
        );
        assert_eq!(json(Value::Map(vec![(one(), Value::Option(None))])), "{\"1\":null}");
        assert_eq!(json(Value::Map(vec![(Value::List(vec![]), Value::Unit)])), "[[[],null]]");
        assert_eq!(
            json(Value::Opaque { wrapper: "AsUnixTime", bytes: &[5] }),
            "{\"opaque\":\"AsUnixTime\",\"hex\":\"05\"}"
        );
        let line = Value::Struct { name: "T", fields: vec![("price", one()), ("venue", Value::Text("x y"))] };
        assert_eq!(as_line(&line).unwrap(), "price=1 venue=\"x y\"");
    }
}
