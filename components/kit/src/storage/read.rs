//! Rows as serde data: a row becomes a struct by column names, a tuple by position, or a single value.

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::row::{Row, ValueRef};
use super::{Error, Result};

/// No error quotes a value, because errors are logged.
impl de::Error for Error {
    fn custom<T: std::fmt::Display>(why: T) -> Error {
        Error::Invalid(why.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        Error::Invalid(format!("another type than {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        Error::Invalid(format!("another value than {expected}"))
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Error {
        Error::Invalid("an unknown variant".to_owned())
    }
}

/// Names the column in an error.
fn in_column(column: &str, error: Error) -> Error {
    match error {
        Error::Invalid(why) => Error::Invalid(format!("column {column}: {why}")),
        other => other,
    }
}

/// The columns of a row as the members of a struct.
struct Columns<'a> {
    row: Row<'a>,
    next: usize,
}

impl<'a> MapAccess<'a> for Columns<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let name = self.row.column(self.next);
        name.map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value> {
        let index = self.next;
        self.next += 1;
        let value = self.row.at::<ValueRef<'a>>(index)?;
        seed.deserialize(value).map_err(|error| in_column(self.row.column(index).unwrap_or_default(), error))
    }
}

/// Reads a row that is one value as the value of its first column.
macro_rules! first_column {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            self.at::<ValueRef<'a>>(0)?.$method(visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for Row<'a> {
    type Error = Error;

    first_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_map(Columns { row: self, next: 0 })
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(SeqDeserializer::new(self.values()))
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(self, _: &str, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _name: &str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.at::<ValueRef<'a>>(0)?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { <V: Visitor<'a>> unit unit_struct map struct ignored_any }
}

impl<'a> IntoDeserializer<'a, Error> for ValueRef<'a> {
    type Deserializer = ValueRef<'a>;

    fn into_deserializer(self) -> ValueRef<'a> {
        self
    }
}

impl<'a> Deserializer<'a> for ValueRef<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self {
            ValueRef::Null => visitor.visit_unit(),
            ValueRef::Integer(integer) => visitor.visit_i64(integer),
            ValueRef::Real(real) => visitor.visit_f64(real),
            ValueRef::Text(text) => visitor.visit_borrowed_str(text),
            ValueRef::Blob(bytes) => visitor.visit_borrowed_bytes(bytes),
        }
    }

    /// A boolean is stored as 0 or 1.
    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self {
            ValueRef::Integer(0) => visitor.visit_bool(false),
            ValueRef::Integer(1) => visitor.visit_bool(true),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if self == ValueRef::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// A blob can also become a `Vec<u8>`.
    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self {
            ValueRef::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _name: &str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    /// The name of a variant without fields, as a text.
    fn deserialize_enum<V: Visitor<'a>>(self, _: &str, _: &[&str], visitor: V) -> Result<V::Value> {
        match self {
            ValueRef::Text(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::Rows;
    use super::super::row::pack;
    use super::*;
    use crate::params;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Cat<'a> {
        id: i64,
        name: &'a str,
        note: Option<String>,
        tame: bool,
        weight: Grams,
        mood: Mood,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Grams(u32);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Calm,
        Wild,
    }

    const COLUMNS: [&str; 6] = ["id", "mood", "tame", "name", "weight", "note"];

    fn rows(columns: &[&str], values: &[crate::storage::Value]) -> Rows {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Rows::unpack(pack(&columns, values)).unwrap()
    }

    #[test]
    fn a_row_becomes_a_struct_by_column_names() {
        let one = params![1_i64, "wild", 1_i64, "Tom", 4500_i64, None::<&str>];
        let other = params![2_i64, "calm", 0_i64, "Łapa", 3000_i64, "shy"];
        let rows = rows(&COLUMNS, &[&one[..], &other[..]].concat());
        let cats: Vec<Cat<'_>> = rows.all().unwrap();
        let tom = Cat { id: 1, name: "Tom", note: None, tame: true, weight: Grams(4500), mood: Mood::Wild };
        let note = Some("shy".to_owned());
        let shy = Cat { id: 2, name: "Łapa", note, tame: false, weight: Grams(3000), mood: Mood::Calm };
        assert_eq!(cats, [tom, shy]);
    }

    #[test]
    fn a_row_becomes_a_tuple_or_a_single_value() {
        let rows = rows(&["id", "name"], params![7_i64, "Tom"]);
        assert_eq!(rows.one::<(i64, &str)>().unwrap(), Some((7, "Tom")));
        assert_eq!(rows.one::<i64>().unwrap(), Some(7));
        assert_eq!(rows.one::<Grams>().unwrap(), Some(Grams(7)));
        let blob = rows_of_a_blob();
        assert_eq!(blob.one::<&[u8]>().unwrap(), Some(&[1, 255][..]));
        assert_eq!(blob.one::<(Vec<u8>,)>().unwrap(), Some((vec![1, 255],)));
    }

    fn rows_of_a_blob() -> Rows {
        rows(&["data"], params![&[1_u8, 255][..]])
    }

    #[test]
    fn no_row_is_none() {
        assert_eq!(rows(&["id"], &[]).one::<i64>().unwrap(), None);
        assert_eq!(rows(&["id"], &[]).all::<i64>().unwrap(), [0_i64; 0]);
    }

    #[test]
    fn an_error_names_the_column() {
        let why = |values: &[crate::storage::Value]| match rows(&COLUMNS, values).one::<Cat<'_>>() {
            Err(Error::Invalid(why)) => why,
            other => panic!("{other:?}"),
        };
        let null = why(params![1_i64, "wild", 1_i64, None::<&str>, 1_i64, "x"]);
        assert!(null.starts_with("column name: another type"), "{null}");
        let negative = why(params![1_i64, "wild", 1_i64, "Tom", -1_i64, "x"]);
        assert!(negative.starts_with("column weight: another value"), "{negative}");
        let bored = why(params![1_i64, "bored", 1_i64, "Tom", 1_i64, "x"]);
        assert!(bored.starts_with("column mood: an unknown variant"), "{bored}");
        let two = why(params![1_i64, "wild", 2_i64, "Tom", 1_i64, "x"]);
        assert!(two.starts_with("column tame: another type"), "{two}");
        let missing = rows(&["id"], params![1_i64]);
        assert!(matches!(missing.one::<Cat<'_>>(), Err(Error::Invalid(why)) if why.contains("missing field")));
    }
}
