//! Unpacks packed rows, as a guest does.

use super::{BLOB, INTEGER, NULL, REAL, Rows, TEXT};
use crate::Value;

/// One value of a row, which borrows from the packed rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'p> {
    /// SQL's NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A text.
    Text(&'p str),
    /// A blob.
    Blob(&'p [u8]),
}

impl Rows {
    /// The values of all rows, one row after the other.
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.unpack().expect("this crate packed the rows").1
    }

    /// As `cells`, but independent of the rows.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.cells().into_iter().map(Value::from).collect()
    }

    #[cfg(test)]
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.unpack().expect("this crate packed the rows").0
    }

    fn unpack(&self) -> Option<(Vec<&str>, Vec<Cell<'_>>)> {
        let mut rest = self.0.as_slice();
        let columns = (0..length(&mut rest)?).map(|_| text(&mut rest)).collect::<Option<_>>()?;
        let mut cells = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            cells.push(match *kind {
                NULL => Cell::Null,
                INTEGER => Cell::Integer(i64::from_le_bytes(take(&mut rest)?)),
                REAL => Cell::Real(f64::from_le_bytes(take(&mut rest)?)),
                TEXT => Cell::Text(text(&mut rest)?),
                BLOB => Cell::Blob(bytes(&mut rest)?),
                _ => return None,
            });
        }
        Some((columns, cells))
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(integer) => Self::Integer(integer),
            Cell::Real(real) => Self::Real(real),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Blob(blob) => Self::Blob(blob.to_vec()),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest)?)).ok()
}

fn bytes<'p>(rest: &mut &'p [u8]) -> Option<&'p [u8]> {
    let length = length(rest)?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn text<'p>(rest: &mut &'p [u8]) -> Option<&'p str> {
    str::from_utf8(bytes(rest)?).ok()
}
