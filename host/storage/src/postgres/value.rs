//! Converts values to and from PostgreSQL's binary format.
//!
//! The format is defined by the `…_send` functions in PostgreSQL's `src/backend/utils/adt`.

use std::borrow::Cow;
use std::fmt;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Column, Row};

use super::config::PostgresLimits;
use crate::{Rows, StorageError, Value};

/// How many bytes each value adds to the size of a result, besides its content.
const VALUE_BYTES: usize = 16;

type Failure = Box<dyn std::error::Error + Sync + Send>;

/// A parameter. It has the type of its value, whatever type PostgreSQL would infer.
pub(super) struct Parameter<'v>(pub(super) &'v Value);

impl Parameter<'_> {
    /// The type of the value. For NULL, PostgreSQL infers the type.
    pub(super) fn kind(&self) -> Type {
        match self.0 {
            Value::Null => Type::UNKNOWN,
            Value::Integer(_) => Type::INT8,
            Value::Real(_) => Type::FLOAT8,
            Value::Text(_) => Type::TEXT,
            Value::Blob(_) => Type::BYTEA,
        }
    }

    /// Refuses values that PostgreSQL could not store.
    pub(super) fn check(&self, limits: &PostgresLimits) -> Result<(), StorageError> {
        match self.0 {
            Value::Real(real) if real.is_nan() => Err(StorageError::Invalid("a parameter is NaN".into())),
            Value::Text(text) if text.len() > limits.value_bytes => Err(too_large(limits)),
            Value::Blob(blob) if blob.len() > limits.value_bytes => Err(too_large(limits)),
            _ => Ok(()),
        }
    }
}

fn too_large(limits: &PostgresLimits) -> StorageError {
    StorageError::TooLarge(format!("a value of more than {} bytes", limits.value_bytes))
}

/// Prints only the type, because the client writes its parameters to the log.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a parameter of type {}", self.kind())
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(integer) => integer.to_sql(kind, out),
            Value::Real(real) => real.to_sql(kind, out),
            Value::Text(text) => escaped(text).as_ref().to_sql(kind, out),
            Value::Blob(blob) => blob.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The first character of an escape sequence: SUBSTITUTE, which is rare in texts.
const ESCAPE: char = '\u{1a}';

/// Escapes NUL characters, because PostgreSQL's texts cannot contain them.
///
/// Two escaped texts are equal, or one is a prefix of the other, only if that was true before.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return text.into();
    }
    text.replace(ESCAPE, "\u{1a}1").replace('\0', "\u{1a}0").into()
}

/// Reverses [`escaped`].
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return text.into();
    }
    text.replace("\u{1a}0", "\0").replace("\u{1a}1", "\u{1a}").into()
}

/// Packs arriving rows, within the limits of a result.
pub(super) struct Packing<'l> {
    rows: Rows,
    count: usize,
    bytes: usize,
    limits: &'l PostgresLimits,
}

impl<'l> Packing<'l> {
    pub(super) fn of(columns: &[Column], limits: &'l PostgresLimits) -> Self {
        Self { rows: Rows::of(columns.iter().map(Column::name)), count: 0, bytes: 0, limits }
    }

    pub(super) fn add(&mut self, row: &Row) -> Result<(), StorageError> {
        if self.count == self.limits.result_rows {
            return Err(StorageError::TooLarge(format!("a result of more than {} rows", self.limits.result_rows)));
        }
        self.count += 1;
        for (position, column) in row.columns().iter().enumerate() {
            let value: Option<Wire<'_>> =
                row.try_get(position).map_err(|error| StorageError::Invalid(error.to_string()))?;
            self.bytes += VALUE_BYTES + value.as_ref().map_or(0, |Wire(bytes)| bytes.len());
            if self.bytes > self.limits.result_bytes {
                return Err(StorageError::TooLarge(format!(
                    "a result of more than {} bytes",
                    self.limits.result_bytes
                )));
            }
            match value {
                None => self.rows.null(),
                Some(Wire(bytes)) => self.value(column, bytes)?,
            }
        }
        Ok(())
    }

    pub(super) fn packed(self) -> Rows {
        self.rows
    }

    fn value(&mut self, column: &Column, bytes: &[u8]) -> Result<(), StorageError> {
        let kind = column.type_();
        let read = match *kind {
            Type::BOOL => bool::from_sql(kind, bytes).map(|truth| self.rows.integer(truth.into())),
            Type::INT2 => i16::from_sql(kind, bytes).map(|integer| self.rows.integer(integer.into())),
            Type::INT4 => i32::from_sql(kind, bytes).map(|integer| self.rows.integer(integer.into())),
            Type::INT8 => i64::from_sql(kind, bytes).map(|integer| self.rows.integer(integer)),
            Type::FLOAT4 => f32::from_sql(kind, bytes).map(|real| self.rows.real(real.into())),
            Type::FLOAT8 => f64::from_sql(kind, bytes).map(|real| self.rows.real(real)),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                <&str>::from_sql(kind, bytes).map(|text| self.rows.text(&unescaped(text)))
            }
            Type::BYTEA => {
                self.rows.blob(bytes);
                Ok(())
            }
            _ => Err(format!("it has the type {kind}: CAST it AS INTEGER, REAL, TEXT or BLOB").into()),
        };
        read.map_err(|cause| StorageError::Invalid(format!("the column {} of the result: {cause}", column.name())))
    }
}

/// The bytes of a value of any type.
struct Wire<'b>(&'b [u8]);

impl<'b> FromSql<'b> for Wire<'b> {
    fn from_sql(_: &Type, bytes: &'b [u8]) -> Result<Self, Failure> {
        Ok(Self(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_removes_nul_characters_and_is_reversible() {
        for text in
            ["", "plain ✓", "\0", "a\0b", "\u{1a}", "\u{1a}0", "\u{1a}1", "\u{1a}\0", "\0\u{1a}1\0", "\u{1a}\u{1a}0"]
        {
            let kept = escaped(text);
            assert!(!kept.contains('\0'), "{text:?}");
            assert_eq!(unescaped(&kept), text);
        }
        // An escape sequence that this host did not write stays as it is.
        assert_eq!(unescaped("\u{1a}x"), "\u{1a}x");
    }
}
