//! Typed bodies and queries: reads serde types, and says which field does not fit and why.

mod int;
mod query;
mod text;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::vec;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::json;

use crate::{Failure, JsonObject, JsonValue};

pub use int::Int;
pub(crate) use query::{Pairs, query};
pub use text::Text;

/// Why a body or a query does not fit its type.
///
/// As a [`Failure`] it is 400 `INVALID_BODY` if the body is not JSON, 422 `INVALID_FIELD` for a field of the body, and 400
/// `INVALID_QUERY` for a query parameter. The member `details` has the path of the field. [`with_code`](Invalid::with_code) and
/// [`path`](Invalid::path) let a route choose its own codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    place: Place,
    path: String,
    fault: Fault,
    why: Cow<'static, str>,
}

/// What the path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Body,
    Query,
}

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body is longer than 1 MiB.
    TooLarge,
    /// The body has another content type, or is not JSON.
    NotJson,
    /// The type has no such field.
    Unknown,
    /// The field is missing.
    Missing,
    /// The field has another type, or its value is refused.
    Wrong,
}

impl Invalid {
    /// The body as a whole is refused. The reason is a sentence.
    pub(crate) fn body(fault: Fault, why: impl Into<Cow<'static, str>>) -> Invalid {
        Invalid { place: Place::Body, path: String::new(), fault, why: why.into() }
    }

    fn new(fault: Fault, why: impl Into<Cow<'static, str>>) -> Invalid {
        Invalid::body(fault, why)
    }

    /// The path of the field, such as `items[0].quantity`. Empty for the whole body.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reason, which continues a sentence about the field.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// The kind of the error.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// A 400 with this code. A body that is too long stays a 413.
    pub fn with_code(self, code: &'static str) -> Failure {
        self.fail(400, code)
    }

    fn fail(self, status: u16, code: &'static str) -> Failure {
        let failure = match self.fault {
            Fault::TooLarge => Failure::new(413, "BODY_TOO_LARGE", self.to_string()),
            _ => Failure::new(status, code, self.to_string()),
        };
        if self.path.is_empty() { failure } else { failure.with_details(json!({ "field": self.path })) }
    }

    /// The same error of a field within an object.
    fn within(mut self, name: &str) -> Invalid {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same error of an item of an array.
    fn at(mut self, index: usize) -> Invalid {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

/// The sentence for the client. It quotes no value.
impl Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place, self.fault, self.path.as_str()) {
            (_, Fault::NotJson | Fault::TooLarge, _) => out.write_str(&self.why),
            (Place::Body, _, "") => write!(out, "The body {}.", self.why),
            (Place::Body, _, path) => write!(out, "The field {path} {}.", self.why),
            (Place::Query, _, path) => write!(out, "The query parameter {path} {}.", self.why),
        }
    }
}

impl std::error::Error for Invalid {}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        match (invalid.place, invalid.fault) {
            (Place::Query, _) => invalid.fail(400, "INVALID_QUERY"),
            (_, Fault::NotJson | Fault::TooLarge) => invalid.fail(400, "INVALID_BODY"),
            _ => invalid.fail(422, "INVALID_FIELD"),
        }
    }
}

impl de::Error for Invalid {
    /// A type's own reason continues the sentence "The field x …", for example with "must be an email address".
    fn custom<T: Display>(why: T) -> Invalid {
        Invalid::new(Fault::Wrong, why.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Invalid {
        Invalid::new(Fault::Wrong, format!("must be {}", described(&expected.to_string())))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Invalid {
        de::Error::invalid_type(unexpected, expected)
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Invalid {
        Invalid::new(Fault::Wrong, format!("must be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Invalid {
        Invalid::new(Fault::Wrong, format!("must be one of {}", expected.join(", ")))
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Invalid {
        Invalid::new(Fault::Unknown, "is unknown").within(name)
    }

    fn missing_field(name: &'static str) -> Invalid {
        Invalid::new(Fault::Missing, "is missing").within(name)
    }

    fn duplicate_field(name: &'static str) -> Invalid {
        Invalid::new(Fault::Wrong, "is given twice").within(name)
    }
}

/// What serde expects, in words for clients.
fn described(expected: &str) -> &str {
    match expected {
        "i64" | "u64" => "an integer",
        "i8" | "i16" | "i32" | "u8" | "u16" | "u32" | "usize" => "an integer that is not too large",
        "f32" | "f64" => "a number",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("enum ") || other == "variant identifier" => "a string",
        other => other,
    }
}

/// Reads a type. A missing member is reported before one that does not fit, because a client has to add it in any case.
pub(crate) fn read<T: DeserializeOwned>(value: &JsonValue, is_strict: bool) -> Result<T, Invalid> {
    let read = T::deserialize(Json { value, is_strict });
    read.map_err(|invalid| missing::<T>(value, &invalid).unwrap_or(invalid))
}

/// The error of a missing member, if the type reports one as soon as the wrong members are gone.
fn missing<T: DeserializeOwned>(value: &JsonValue, wrong: &Invalid) -> Option<Invalid> {
    let mut rest = value.clone();
    let (mut gone, mut invalid) = (Vec::new(), wrong.clone());
    while invalid.fault != Fault::Missing || invalid.path.contains(['.', '[']) {
        let name = invalid.path.split(['.', '[']).next()?.to_owned();
        rest.as_object_mut()?.remove(&name)?;
        gone.push(name);
        invalid = T::deserialize(Json { value: &rest, is_strict: false }).err()?;
    }
    (!gone.contains(&invalid.path)).then_some(invalid)
}

/// A JSON value that becomes a type.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a> {
    pub(crate) value: &'a JsonValue,
    /// Whether a member that the type does not have is an error.
    pub(crate) is_strict: bool,
}

impl<'a> Json<'a> {
    fn within(self, value: &'a JsonValue) -> Json<'a> {
        Json { value, ..self }
    }
}

impl<'a> Deserializer<'a> for Json<'a> {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.value {
            JsonValue::Null => visitor.visit_unit(),
            JsonValue::Bool(boolean) => visitor.visit_bool(*boolean),
            JsonValue::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(positive), _) => visitor.visit_u64(positive),
                (None, Some(negative)) => visitor.visit_i64(negative),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            JsonValue::String(text) => visitor.visit_borrowed_str(text),
            JsonValue::Array(items) => visitor.visit_seq(Items { items, next: 0, json: self }),
            JsonValue::Object(members) => {
                visitor.visit_map(Members { members: in_order(members, &[]), value: None, json: self })
            }
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _name: &str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    /// Reads the members in the order of the type, so that the first wrong one is reported. Serde would also read an array as a struct.
    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        let Some(object) = self.value.as_object() else { return Err(Invalid::new(Fault::Wrong, "must be an object")) };
        visitor.visit_map(Members { members: in_order(object, fields), value: None, json: self })
    }

    /// The name of a variant without content.
    fn deserialize_enum<V: Visitor<'a>>(self, _: &str, _: &[&str], visitor: V) -> Result<V::Value, Invalid> {
        match self.value {
            JsonValue::String(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            _ => Err(Invalid::new(Fault::Wrong, "must be a string")),
        }
    }

    /// Serde calls this for a member that the type does not have.
    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Invalid> {
        if self.is_strict { Err(Invalid::new(Fault::Unknown, "is unknown")) } else { visitor.visit_unit() }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map identifier
    }
}

struct Items<'a> {
    items: &'a [JsonValue],
    next: usize,
    json: Json<'a>,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Invalid;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Invalid> {
        let index = self.next;
        let Some(item) = self.items.get(index) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(self.json.within(item)).map(Some).map_err(|invalid| invalid.at(index))
    }
}

/// The members of an object, first those of a type in its order.
fn in_order<'a>(object: &'a JsonObject, fields: &[&str]) -> vec::IntoIter<(&'a String, &'a JsonValue)> {
    let known = fields.iter().filter_map(|field| object.get_key_value(*field));
    let others = object.iter().filter(|(name, _)| !fields.contains(&name.as_str()));
    known.chain(others).collect::<Vec<_>>().into_iter()
}

struct Members<'a> {
    members: vec::IntoIter<(&'a String, &'a JsonValue)>,
    value: Option<(&'a str, &'a JsonValue)>,
    json: Json<'a>,
}

impl<'a> MapAccess<'a> for Members<'a> {
    type Error = Invalid;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Invalid> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Invalid> {
        let (name, value) = self.value.take().unwrap_or(("", &JsonValue::Null));
        seed.deserialize(self.json.within(value)).map_err(|invalid| invalid.within(&shown(name)))
    }
}

/// A member's name in a path: at most 64 characters, without control characters.
fn shown(name: &str) -> Cow<'_, str> {
    const LIMIT: usize = 64;
    if name.len() <= LIMIT && !name.chars().any(char::is_control) {
        return name.into();
    }
    name.chars().take(LIMIT).map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        items: Vec<Line>,
        note: Option<Text<0, 5>>,
        #[serde(default)]
        colour: Colour,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        id: i64,
        pieces: Int<1, 255>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        #[default]
        Red,
        Blue,
    }

    fn read(value: &JsonValue, is_strict: bool) -> Result<Order, Invalid> {
        super::read(value, is_strict)
    }

    #[test]
    fn a_value_becomes_a_type() {
        let order = read(&json!({ "items": [{ "id": -1, "pieces": 2 }], "note": null, "colour": "blue" }), true);
        let expected =
            Order { items: vec![Line { id: -1, pieces: Int::new(2).unwrap() }], note: None, colour: Colour::Blue };
        assert_eq!(order.unwrap(), expected);
    }

    #[test]
    fn an_error_names_the_field_by_its_path() {
        let line = |line: JsonValue| json!({ "items": [{ "id": 1, "pieces": 1 }, line] });
        let table = [
            (json!([]), "The body must be an object."),
            (json!({}), "The field items is missing."),
            (json!({ "items": {} }), "The field items must be an array."),
            (line(json!(7)), "The field items[1] must be an object."),
            (line(json!({ "id": 1 })), "The field items[1].pieces is missing."),
            (line(json!({ "id": 1.5, "pieces": 1 })), "The field items[1].id must be an integer."),
            (line(json!({ "id": 1, "pieces": 256 })), "The field items[1].pieces must be an integer from 1 to 255."),
            (line(json!({ "id": 1, "pieces": 1, "size": 3 })), "The field items[1].size is unknown."),
            (json!({ "items": [], "note": "longer" }), "The field note must have at most 5 characters."),
            (json!({ "items": [], "note": "a\0" }), "The field note must not contain U+0000."),
            (json!({ "items": [], "colour": "pink" }), "The field colour must be one of red, blue."),
            (json!({ "items": [], "colour": 7 }), "The field colour must be a string."),
            (json!({ "items": [], "a\nb": 7 }), "The field a?b is unknown."),
            // What is missing comes first, then what the type has first, then what is unknown.
            (json!({ "colour": 7, "a": 1 }), "The field items is missing."),
            (json!({ "note": "longer", "colour": 7, "items": [] }), "The field note must have at most 5 characters."),
            (json!({ "a": 1, "items": [], "colour": 7 }), "The field colour must be a string."),
            (json!({ "items": 7, "note": "longer" }), "The field items must be an array."),
        ];
        for (value, message) in table {
            assert_eq!(read(&value, true).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unknown_members_can_be_ignored_at_every_depth() {
        let value = json!({ "items": [{ "id": 1, "pieces": 1, "size": 3 }], "weight": [1] });
        assert_eq!(read(&value, true).unwrap_err().fault(), Fault::Unknown);
        assert!(read(&value, false).is_ok());
    }

    #[test]
    fn statuses_and_codes_have_defaults_that_a_route_can_replace() {
        let wrong = read(&json!({ "items": 1 }), true).unwrap_err();
        let failure = Failure::from(wrong.clone());
        assert_eq!((failure.status, failure.code), (422, "INVALID_FIELD"));
        assert_eq!(failure.details, Some(json!({ "field": "items" })));
        assert_eq!((wrong.with_code("BAD").status, wrong_body().status), (400, 400));
        let large = || Invalid::body(Fault::TooLarge, "The body is too long.");
        assert_eq!((Failure::from(large()).status, large().with_code("BAD").code), (413, "BODY_TOO_LARGE"));
    }

    fn wrong_body() -> Failure {
        Invalid::body(Fault::NotJson, "The body is empty.").into()
    }
}
