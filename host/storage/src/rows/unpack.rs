//! Unpacks packed rows, as a guest does.

use super::{BLOB, INTEGER, NULL, REAL, Rows, TEXT};
use crate::Value;

impl Rows {
    /// The values of all rows, one row after the other.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.unpack().expect("this crate packed the rows").1
    }

    #[cfg(test)]
    pub(crate) fn columns(&self) -> Vec<String> {
        self.unpack().expect("this crate packed the rows").0
    }

    fn unpack(&self) -> Option<(Vec<String>, Vec<Value>)> {
        let mut rest = self.0.as_slice();
        let columns = (0..length(&mut rest)?).map(|_| text(&mut rest)).collect::<Option<_>>()?;
        let mut values = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            values.push(match *kind {
                NULL => Value::Null,
                INTEGER => Value::Integer(i64::from_le_bytes(take(&mut rest)?)),
                REAL => Value::Real(f64::from_le_bytes(take(&mut rest)?)),
                TEXT => Value::Text(text(&mut rest)?),
                BLOB => Value::Blob(bytes(&mut rest)?.to_vec()),
                _ => return None,
            });
        }
        Some((columns, values))
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

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(bytes(rest)?.to_vec()).ok()
}
