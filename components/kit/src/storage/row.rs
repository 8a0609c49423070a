//! The rows of a query, with values as Rust types.

use std::ops::Range;

use serde::Deserialize;

use super::{Error, Result, Value};

/// The rows of a query. Texts and blobs stay in the host's packed bytes and are borrowed from there.
#[derive(Clone, Debug)]
pub struct Rows {
    packed: Vec<u8>,
    /// The byte ranges of the column names.
    columns: Vec<Range<usize>>,
    values: Vec<Packed>,
}

/// A value, or the byte range of a text or a blob.
#[derive(Clone, Debug)]
enum Packed {
    Null,
    Integer(i64),
    Real(f64),
    Text(Range<usize>),
    Blob(Range<usize>),
}

impl Rows {
    /// Unpacks the host's bytes. `wit/storage.wit` describes the format.
    pub(super) fn unpack(packed: Vec<u8>) -> Result<Rows> {
        let mut reader = Reader { packed: &packed, at: 0 };
        let read = |reader: &mut Reader<'_>| {
            let count = reader.length()?;
            let columns = (0..count).map(|_| reader.range()).collect::<Option<Vec<_>>>()?;
            let mut values = Vec::new();
            while reader.at < reader.packed.len() {
                values.push(reader.value()?);
            }
            Some((columns, values))
        };
        let (columns, values) =
            read(&mut reader).ok_or_else(|| Error::Invalid("cannot unpack the rows from the host".to_owned()))?;
        Ok(Rows { packed, columns, values })
    }

    /// Number of rows.
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

    /// The first row as a value, or None if there is no row. See [`Row::read`].
    ///
    /// # Errors
    ///
    /// `Invalid` names the column that does not fit.
    pub fn one<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>> {
        self.first().map(Row::read).transpose()
    }

    /// All rows as values. See [`Row::read`].
    ///
    /// # Errors
    ///
    /// `Invalid` names the column that does not fit.
    pub fn all<'a, T: Deserialize<'a>>(&'a self) -> Result<Vec<T>> {
        self.iter().map(Row::read).collect()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> + Clone {
        // A statement without columns has no values, so its width does not matter. chunks_exact does not accept 0.
        let width = self.columns.len().max(1);
        self.values.chunks_exact(width).map(|values| Row { rows: self, values })
    }
}

/// Reads packed rows. Its methods return None at an early end or an unknown type.
struct Reader<'a> {
    packed: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.packed.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take()?)).ok()
    }

    fn range(&mut self) -> Option<Range<usize>> {
        let length = self.length()?;
        let range = self.at..self.at.checked_add(length)?;
        self.at = range.end;
        (range.end <= self.packed.len()).then_some(range)
    }

    fn value(&mut self) -> Option<Packed> {
        Some(match self.take::<1>()? {
            [0] => Packed::Null,
            [1] => Packed::Integer(i64::from_le_bytes(self.take()?)),
            [2] => Packed::Real(f64::from_le_bytes(self.take()?)),
            [3] => Packed::Text(self.range()?),
            [4] => Packed::Blob(self.range()?),
            _ => return None,
        })
    }
}

/// One row. Texts are borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    rows: &'a Rows,
    values: &'a [Packed],
}

impl<'a> Row<'a> {
    /// The row as a value: a struct by column names, a tuple by position, or one value from the first column.
    ///
    /// A type with `&str` fields borrows the texts. A boolean is stored as 0 or 1. An enum is stored as the name of its variant.
    /// A struct ignores other columns.
    ///
    /// # Errors
    ///
    /// `Invalid` names the column that does not fit.
    pub fn read<T: Deserialize<'a>>(self) -> Result<T> {
        T::deserialize(self)
    }

    /// The name of a column by position. None after the last column.
    pub(super) fn column(&self, index: usize) -> Option<&'a str> {
        let name = self.rows.columns.get(index)?;
        std::str::from_utf8(&self.rows.packed[name.clone()]).ok()
    }

    /// All values. A text that is not UTF-8 is NULL here.
    pub(super) fn values(self) -> impl Iterator<Item = ValueRef<'a>> {
        (0..self.values.len()).map(move |index| self.at(index).unwrap_or(ValueRef::Null))
    }

    /// The value of a column by name.
    ///
    /// # Errors
    ///
    /// `Invalid` if the statement has no such column, or if its value has another type.
    pub fn get<T: FromValue<'a>>(&self, column: &str) -> Result<T> {
        let Rows { packed, columns, .. } = self.rows;
        match columns.iter().position(|name| packed[name.clone()] == *column.as_bytes()) {
            Some(index) => self.at(index),
            None => Err(Error::Invalid(format!("no column {column}"))),
        }
    }

    /// The value of a column by position, from 0. Faster than by name.
    ///
    /// # Errors
    ///
    /// Same as [`get`](Row::get).
    pub fn at<T: FromValue<'a>>(&self, index: usize) -> Result<T> {
        let packed_value = self.values.get(index).ok_or_else(|| Error::Invalid(format!("no column {index}")))?;
        let bytes = |range: &Range<usize>| &self.rows.packed[range.clone()];
        let value = match packed_value {
            Packed::Null => Some(ValueRef::Null),
            Packed::Integer(integer) => Some(ValueRef::Integer(*integer)),
            Packed::Real(real) => Some(ValueRef::Real(*real)),
            Packed::Text(range) => std::str::from_utf8(bytes(range)).ok().map(ValueRef::Text),
            Packed::Blob(range) => Some(ValueRef::Blob(bytes(range))),
        };
        let value = value.and_then(T::from_value);
        value.ok_or_else(|| Error::Invalid(format!("column {index} has another type")))
    }
}

/// A value of a row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// An integer.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

/// Packs rows as the host does.
#[cfg(any(test, feature = "native"))]
pub(crate) fn pack(columns: &[String], values: &[Value]) -> Vec<u8> {
    fn add(packed: &mut Vec<u8>, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a test has little to pack");
        packed.extend(length.to_le_bytes());
        packed.extend_from_slice(bytes);
    }
    let mut packed = u32::try_from(columns.len()).expect("a row has few columns").to_le_bytes().to_vec();
    columns.iter().for_each(|name| add(&mut packed, name.as_bytes()));
    for value in values {
        match value {
            Value::Null => packed.push(0),
            Value::Integer(integer) => packed.extend([1].into_iter().chain(integer.to_le_bytes())),
            Value::Real(real) => packed.extend([2].into_iter().chain(real.to_le_bytes())),
            Value::Text(text) => {
                packed.push(3);
                add(&mut packed, text.as_bytes());
            }
            Value::Blob(bytes) => {
                packed.push(4);
                add(&mut packed, bytes);
            }
        }
    }
    packed
}

/// A Rust type that a column value can be converted to.
pub trait FromValue<'a>: Sized {
    /// Converts the value. None if it has another type or is out of range.
    fn from_value(value: ValueRef<'a>) -> Option<Self>;
}

impl<'a> FromValue<'a> for ValueRef<'a> {
    fn from_value(value: ValueRef<'a>) -> Option<ValueRef<'a>> {
        Some(value)
    }
}

impl FromValue<'_> for i64 {
    fn from_value(value: ValueRef<'_>) -> Option<i64> {
        if let ValueRef::Integer(integer) = value { Some(integer) } else { None }
    }
}

/// A boolean is stored as 0 or 1.
impl FromValue<'_> for bool {
    fn from_value(value: ValueRef<'_>) -> Option<bool> {
        match value {
            ValueRef::Integer(0) => Some(false),
            ValueRef::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue<'_> for f64 {
    fn from_value(value: ValueRef<'_>) -> Option<f64> {
        if let ValueRef::Real(real) = value { Some(real) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    fn from_value(value: ValueRef<'a>) -> Option<&'a str> {
        if let ValueRef::Text(text) = value { Some(text) } else { None }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: ValueRef<'_>) -> Option<String> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'a> FromValue<'a> for &'a [u8] {
    fn from_value(value: ValueRef<'a>) -> Option<&'a [u8]> {
        if let ValueRef::Blob(bytes) = value { Some(bytes) } else { None }
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    fn from_value(value: ValueRef<'a>) -> Option<Option<T>> {
        if value == ValueRef::Null { Some(None) } else { T::from_value(value).map(Some) }
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
        Rows::unpack(pack(&columns, &values)).unwrap()
    }

    #[test]
    fn columns_are_read_by_name_and_position() {
        let rows = rows();
        assert_eq!(rows.len(), 2);
        let names: Vec<&str> = rows.iter().map(|row| row.get("name").unwrap()).collect();
        assert_eq!(names, ["Ada", "Łukasz"]);
        let first = rows.first().unwrap();
        assert_eq!(first.at::<i64>(0).unwrap(), 1);
        assert_eq!(first.get::<Option<&str>>("note").unwrap(), None);
    }

    #[test]
    fn an_absent_column_or_another_type_is_invalid() {
        let rows = rows();
        let first = rows.first().unwrap();
        assert!(matches!(first.get::<i64>("nothing"), Err(Error::Invalid(_))));
        assert!(matches!(first.get::<i64>("name"), Err(Error::Invalid(_))));
        assert!(matches!(first.get::<&str>("note"), Err(Error::Invalid(_))));
        assert!(matches!(first.at::<bool>(9), Err(Error::Invalid(_))));
    }

    #[test]
    fn malformed_bytes_are_invalid() {
        let good = pack(&["id".to_owned()], params!["Ada"]);
        assert!(Rows::unpack(good.clone()).is_ok());
        for cut in (0..good.len()).filter(|cut| *cut != 10) {
            assert!(Rows::unpack(good[..cut].to_vec()).is_err(), "{cut}");
        }
        assert!(Rows::unpack([&good[..], &[9]].concat()).is_err());
    }

    #[test]
    fn a_statement_without_columns_has_no_rows() {
        let none = Rows::unpack(pack(&[], &[])).unwrap();
        assert_eq!((none.len(), none.iter().count(), none.is_empty()), (0, 0, true));
    }
}
