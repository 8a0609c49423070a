//! Rows and their columns, as Rust types.

use super::{Error, Result, Value};
use crate::bindings::comptoir::platform::storage as host;

/// What a query gave.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> + Clone {
        // A statement without columns has no values either, so the width of its rows is never used.
        let width = self.columns.len().max(1);
        self.values.chunks_exact(width).map(|values| Row { columns: &self.columns, values })
    }
}

impl From<host::Rows> for Rows {
    fn from(rows: host::Rows) -> Rows {
        Rows { columns: rows.columns, values: rows.values }
    }
}

/// One row of an answer. Texts are borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The value of a column by name.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no such column or its value is of another type: the statement and the code disagree.
    pub fn get<T: FromValue<'a>>(&self, column: &str) -> Result<T> {
        match self.columns.iter().position(|name| name == column) {
            Some(index) => self.at(index),
            None => Err(Error::Invalid(format!("no column {column}"))),
        }
    }

    /// The value of a column by position, from 0. Quicker than by name.
    ///
    /// # Errors
    ///
    /// As [`get`](Row::get).
    pub fn at<T: FromValue<'a>>(&self, index: usize) -> Result<T> {
        let value = self.values.get(index).ok_or_else(|| Error::Invalid(format!("no column {index}")))?;
        T::from_value(value).ok_or_else(|| Error::Invalid(format!("column {index} has another type")))
    }
}

/// A type that a value of a row can be read as.
pub trait FromValue<'a>: Sized {
    /// None if the value is of another type, or out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl FromValue<'_> for i64 {
    fn from_value(value: &Value) -> Option<i64> {
        if let Value::Integer(integer) = value { Some(*integer) } else { None }
    }
}

/// A boolean is stored as 0 or 1.
impl FromValue<'_> for bool {
    fn from_value(value: &Value) -> Option<bool> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue<'_> for f64 {
    fn from_value(value: &Value) -> Option<f64> {
        if let Value::Real(real) = value { Some(*real) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    fn from_value(value: &'a Value) -> Option<&'a str> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: &Value) -> Option<String> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'a> FromValue<'a> for &'a [u8] {
    fn from_value(value: &'a Value) -> Option<&'a [u8]> {
        if let Value::Blob(bytes) = value { Some(bytes) } else { None }
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    fn from_value(value: &'a Value) -> Option<Option<T>> {
        if matches!(value, Value::Null) { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Value {
        Value::Integer(integer)
    }
}

impl From<u32> for Value {
    fn from(integer: u32) -> Value {
        Value::Integer(integer.into())
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Value {
        Value::Integer(boolean.into())
    }
}

impl From<f64> for Value {
    fn from(real: f64) -> Value {
        Value::Real(real)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(text.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Blob(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Blob(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Value {
        option.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

    fn rows() -> Rows {
        let columns = ["id", "name", "note"].map(str::to_owned).to_vec();
        let ada: &[Value] = params![1_i64, "Ada", None::<&str>];
        let values = [ada, params![2_i64, "Łukasz", "hi"]].concat();
        Rows { columns, values }
    }

    #[test]
    fn columns_are_read_by_name_and_by_position() {
        let rows = rows();
        assert_eq!(rows.len(), 2);
        let names: Vec<&str> = rows.iter().map(|row| row.get("name").unwrap()).collect();
        assert_eq!(names, ["Ada", "Łukasz"]);
        let first = rows.first().unwrap();
        assert_eq!(first.at::<i64>(0).unwrap(), 1);
        assert_eq!(first.get::<Option<&str>>("note").unwrap(), None);
    }

    #[test]
    fn a_column_that_is_absent_or_of_another_type_is_invalid() {
        let rows = rows();
        let first = rows.first().unwrap();
        assert!(matches!(first.get::<i64>("nothing"), Err(Error::Invalid(_))));
        assert!(matches!(first.get::<i64>("name"), Err(Error::Invalid(_))));
        assert!(matches!(first.get::<&str>("note"), Err(Error::Invalid(_))));
        assert!(matches!(first.at::<bool>(9), Err(Error::Invalid(_))));
    }

    #[test]
    fn a_statement_without_columns_has_no_rows() {
        let none = Rows { columns: Vec::new(), values: Vec::new() };
        assert_eq!((none.len(), none.iter().count(), none.is_empty()), (0, 0, true));
    }
}
