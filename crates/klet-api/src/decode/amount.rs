//! Quantities: checked and made canonical while they are decoded.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::quantity::{Quantity, QuantityError};

/// Reads a quantity (text or number) and returns its canonical text.
pub(super) struct QuantitySeed;

impl<'de> DeserializeSeed<'de> for QuantitySeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<String, D::Error> {
        inner.deserialize_any(self)
    }
}

impl QuantitySeed {
    fn parse<E: Error>(text: &str) -> Result<String, E> {
        Quantity::parse(text).map(|q| q.canonical()).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for QuantitySeed {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a quantity")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<String, E> {
        Self::parse(v)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<String, E> {
        Self::parse(&v.to_string())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<String, E> {
        Self::parse(&v.to_string())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<String, E> {
        Self::parse(&v.to_string())
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok(String::from("0"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom(QuantityError::Format))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(A::Error::custom(QuantityError::Format))
    }
}
