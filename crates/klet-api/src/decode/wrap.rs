//! A `Deserializer` around another one that keeps the [`Tracker`] informed.

use serde::de::value::{MapDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

use super::access::{Fields, Items};
use super::amount::QuantitySeed;
use super::tracker::{Tracker, Want};
use crate::field::go_quote;

/// The wrapped deserializer.
pub(super) struct Tracked<'t, D> {
    inner: D,
    tracker: &'t mut Tracker,
}

impl<'t, D> Tracked<'t, D> {
    pub(super) fn new(inner: D, tracker: &'t mut Tracker) -> Self {
        Self { inner, tracker }
    }

    fn seer<V>(visitor: V, want: Want, tracker: &'t mut Tracker) -> Seer<'t, V> {
        Seer { visitor, want, fields: None, tracker }
    }
}

macro_rules! forward_kinds {
    ($($method:ident => $want:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.deserialize_any(Self::seer(visitor, $want, self.tracker))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracked<'_, D> {
    type Error = D::Error;

    forward_kinds! {
        deserialize_any => Want::Any;
        deserialize_bool => Want::Bool;
        deserialize_i8 => Want::Int("int8");
        deserialize_i16 => Want::Int("int16");
        deserialize_i32 => Want::Int("int32");
        deserialize_i64 => Want::Int("int64");
        deserialize_u8 => Want::Int("uint8");
        deserialize_u16 => Want::Int("uint16");
        deserialize_u32 => Want::Int("uint32");
        deserialize_u64 => Want::Int("uint64");
        deserialize_f32 => Want::Float;
        deserialize_f64 => Want::Float;
        deserialize_char => Want::Text;
        deserialize_str => Want::Text;
        deserialize_string => Want::Text;
        deserialize_bytes => Want::Text;
        deserialize_byte_buf => Want::Text;
        deserialize_unit => Want::Any;
        deserialize_seq => Want::Seq;
        deserialize_map => Want::Map;
        deserialize_identifier => Want::Text;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Self::seer(visitor, Want::Any, self.tracker))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if name == "Quantity" {
            let quantity = QuantitySeed.deserialize(self.inner)?;
            return visitor.visit_newtype_struct(StringDeserializer::new(quantity));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let seer =
            Seer { visitor, want: Want::Struct(name), fields: Some(fields), tracker: self.tracker };
        self.inner.deserialize_any(seer)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }
}

/// A visitor that sees what the document really holds before the typed visitor does.
struct Seer<'t, V> {
    visitor: V,
    want: Want,
    fields: Option<&'static [&'static str]>,
    tracker: &'t mut Tracker,
}

impl<V> Seer<'_, V> {
    fn wrong<E: Error>(self, go_found: impl Into<String>, found: impl Into<String>) -> E {
        self.tracker.mismatch(self.want, go_found.into(), found.into());
        E::custom("wrong kind of value")
    }

    /// Runs a scalar visit; a refusal by the typed visitor marks the place.
    fn scalar<R, E: Error>(
        self,
        accepted: bool,
        go_found: impl FnOnce() -> (String, String),
        visit: impl FnOnce(V) -> Result<R, E>,
    ) -> Result<R, E> {
        if !accepted {
            let (go, plain) = go_found();
            return Err(self.wrong(go, plain));
        }
        let is_int = matches!(self.want, Want::Int(_));
        let result = visit(self.visitor);
        if result.is_err() && is_int {
            // The kind is right, the number does not fit.
            let (go, plain) = go_found();
            self.tracker.mismatch(self.want, go, plain);
        } else if result.is_err() {
            self.tracker.fail();
        }
        result
    }
}

/// Shortens text from the document for use in a message.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn text_found(text: &str) -> (String, String) {
    ("string".into(), format!("the string {}", go_quote(&excerpt(text))))
}

fn number_found(number: impl ToString) -> (String, String) {
    let number = number.to_string();
    (format!("number {number}"), format!("the number {number}"))
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Seer<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Bool);
        self.scalar(
            accepted,
            || ("bool".into(), format!("the boolean {v}")),
            |inner| inner.visit_bool(v),
        )
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Int(_) | Want::Float);
        self.scalar(accepted, || number_found(v), |inner| inner.visit_i64(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Int(_) | Want::Float);
        self.scalar(accepted, || number_found(v), |inner| inner.visit_u64(v))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Float);
        self.scalar(accepted, || number_found(v), |inner| inner.visit_f64(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Text);
        self.scalar(accepted, || text_found(v), |inner| inner.visit_str(v))
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<V::Value, E> {
        let accepted = matches!(self.want, Want::Any | Want::Text);
        self.scalar(accepted, || text_found(v), |inner| inner.visit_borrowed_str(v))
    }

    fn visit_string<E: Error>(self, v: String) -> Result<V::Value, E> {
        self.visit_str(&v)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Tracked::new(inner, self.tracker))
    }

    /// `null` where a value is required means the zero value, as in Go.
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        match self.want {
            Want::Text => self.visitor.visit_borrowed_str(""),
            Want::Int(_) | Want::Float => self.visitor.visit_u64(0),
            Want::Bool => self.visitor.visit_bool(false),
            Want::Map | Want::Struct(_) => {
                let nothing = std::iter::empty::<(&str, &str)>();
                self.visitor.visit_map(MapDeserializer::new(nothing))
            }
            Want::Seq => {
                let nothing = std::iter::empty::<&str>();
                self.visitor.visit_seq(serde::de::value::SeqDeserializer::new(nothing))
            }
            Want::Any => self.visitor.visit_unit(),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Tracked::new(inner, self.tracker))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if !matches!(self.want, Want::Any | Want::Seq) {
            return Err(self.wrong("array", "a list"));
        }
        self.visitor.visit_seq(Items::new(inner, self.tracker))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if !matches!(self.want, Want::Any | Want::Map | Want::Struct(_)) {
            return Err(self.wrong("object", "a mapping"));
        }
        let Seer { visitor, want, fields, tracker } = self;
        let Want::Struct(name) = want else {
            return visitor.visit_map(Fields::new(inner, None, tracker));
        };
        tracker.structs.push(name);
        let value = visitor.visit_map(Fields::new(inner, fields, tracker))?;
        tracker.structs.pop();
        Ok(value)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(inner)
    }
}
