//! The query of a request as a type. Every value is a text, so numbers and booleans are parsed.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Fault, Invalid, Place, shown};
use crate::path;

/// Pairs of names and texts, such as a query or the configuration.
pub(crate) struct Pairs<'a, I> {
    pairs: I,
    value: Cow<'a, str>,
    name: Cow<'a, str>,
    ignores_unknown: bool,
}

impl<'a, I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>> Pairs<'a, I> {
    /// For a type that need not have all names.
    pub(crate) fn ignoring_unknown(pairs: I) -> Pairs<'a, I> {
        Pairs { pairs, value: Cow::default(), name: Cow::default(), ignores_unknown: true }
    }
}

/// A query such as `limit=10&after=x`. Decodes names and values.
pub(crate) fn query(query: &str) -> Pairs<'_, impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
    Pairs { ignores_unknown: false, ..Pairs::ignoring_unknown(pairs) }
}

/// A value stays as it is if its encoding is invalid.
fn decoded(text: &str) -> Cow<'_, str> {
    path::decode(text).unwrap_or(Cow::Borrowed(text))
}

fn of_query(invalid: Invalid) -> Invalid {
    Invalid { place: Place::Query, ..invalid }
}

impl<'a, I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>> Deserializer<'a> for Pairs<'a, I> {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_map(self).map_err(of_query)
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'a, I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>> MapAccess<'a> for Pairs<'a, I> {
    type Error = Invalid;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Invalid> {
        let Some(pair) = self.pairs.next() else { return Ok(None) };
        (self.name, self.value) = pair;
        let name: CowStrDeserializer<'_, Invalid> = self.name.clone().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Invalid> {
        let word = Word { text: std::mem::take(&mut self.value), may_be_unknown: self.ignores_unknown };
        seed.deserialize(word).map_err(|invalid| invalid.within(&shown(&self.name)))
    }
}

/// One value.
struct Word<'a> {
    text: Cow<'a, str>,
    may_be_unknown: bool,
}

/// Parses a number. Another text becomes the visitor's error.
macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
            match self.text.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'a> Deserializer<'a> for Word<'a> {
    type Error = Invalid;

    parsed! {
        deserialize_bool visit_bool bool
        deserialize_i8 visit_i64 i64
        deserialize_i16 visit_i64 i64
        deserialize_i32 visit_i64 i64
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u64 u64
        deserialize_u16 visit_u64 u64
        deserialize_u32 visit_u64 u64
        deserialize_u64 visit_u64 u64
        deserialize_f32 visit_f64 f64
        deserialize_f64 visit_f64 f64
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _name: &str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(self, _: &str, _: &[&str], visitor: V) -> Result<V::Value, Invalid> {
        let name: CowStrDeserializer<'a, Invalid> = self.text.into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        if self.may_be_unknown {
            return visitor.visit_unit();
        }
        Err(Invalid::new(Fault::Unknown, "is unknown"))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Failure;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Search {
        #[serde(default)]
        text: String,
        page: Option<u32>,
        scope: Option<Scope>,
        all: Option<bool>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Scope {
        Local,
    }

    fn read(query: &str) -> Result<Search, Invalid> {
        Search::deserialize(super::query(query))
    }

    #[test]
    fn a_query_becomes_a_type() {
        let search = read("te%78t=caf%C3%A9&page=7&&scope=local&all=true").unwrap();
        let scope = Some(Scope::Local);
        assert_eq!(search, Search { text: "café".to_owned(), page: Some(7), scope, all: Some(true) });
        assert_eq!(read("").unwrap(), Search { text: String::new(), page: None, scope: None, all: None });
    }

    #[test]
    fn an_error_names_the_parameter() {
        let table = [
            ("page=x", "The query parameter page must be an integer that is not too large."),
            ("page=-1", "The query parameter page must be an integer that is not too large."),
            ("page", "The query parameter page must be an integer that is not too large."),
            ("scope=global", "The query parameter scope must be one of local."),
            ("all=yes", "The query parameter all must be a boolean."),
            ("colour=red", "The query parameter colour is unknown."),
            ("text=a&text=b", "The query parameter text is given twice."),
        ];
        for (query, message) in table {
            let failure = Failure::from(read(query).unwrap_err());
            assert_eq!((failure.status, failure.code, &*failure.message), (400, "INVALID_QUERY", message));
        }
    }
}
