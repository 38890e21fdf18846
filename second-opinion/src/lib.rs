//! What fhir-sdk's model of FHIR R4B says of a resource. For tests only: nothing depends on this package, and its heavy types
//! are compiled in one place, here.

use fhir_sdk::r4b::resources::Resource;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;

/// Why fhir-sdk refuses a resource; nothing if it takes it.
pub fn refusal(resource: &Value) -> Option<String> {
    Resource::deserialize(Plain(resource)).err().map(|error| error.to_string())
}

/// Hands a value out with numbers as numbers. With `arbitrary_precision`, which the workspace needs, serde_json hands them out
/// as maps, and fhir-sdk refuses those (serde-rs/json#721).
struct Plain<'v>(&'v Value);

impl<'de> Deserializer<'de> for Plain<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Plain))),
            Value::Object(members) => visitor
                .visit_map(MapDeserializer::new(members.iter().map(|(name, value)| (name.as_str(), Plain(value))))),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Plain<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_takes_what_is_right_and_refuses_what_is_wrong() {
        let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "valueQuantity": {"value": 1.5, "unit": "mg"}});
        assert_eq!(refusal(&observation), None);
        for (name, wrong) in [("status", json!("done")), ("code", json!("x")), ("component", json!({}))] {
            let mut changed = observation.clone();
            changed[name] = wrong;
            assert!(refusal(&changed).is_some(), "{name}");
        }
        assert!(refusal(&json!({"resourceType": "Observation", "status": "final"})).is_some(), "it has no code");
    }
}
