//! Unpacks packed rows, as a guest does.

use crate::{Rows, Value};

/// The first byte of each value, as `wit/storage.wit` defines it.
const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

impl Rows {
    pub(crate) fn columns(&self) -> Vec<String> {
        self.unpack().0
    }

    /// The values of all rows, one row after the other.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.unpack().1
    }

    fn unpack(&self) -> (Vec<String>, Vec<Value>) {
        let packed = self.clone().into_packed();
        let mut rest = packed.as_slice();
        let columns = (0..length(&mut rest)).map(|_| text(&mut rest)).collect();
        let mut values = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            values.push(match *kind {
                NULL => Value::Null,
                INTEGER => Value::Integer(i64::from_le_bytes(take(&mut rest))),
                REAL => Value::Real(f64::from_le_bytes(take(&mut rest))),
                TEXT => Value::Text(text(&mut rest)),
                BLOB => Value::Blob(bytes(&mut rest)),
                other => panic!("unknown kind of value: {other}"),
            });
        }
        (columns, values)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().unwrap();
    *rest = after;
    *taken
}

fn length(rest: &mut &[u8]) -> usize {
    u32::from_le_bytes(take(rest)) as usize
}

fn bytes(rest: &mut &[u8]) -> Vec<u8> {
    let length = length(rest);
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken.to_vec()
}

fn text(rest: &mut &[u8]) -> String {
    String::from_utf8(bytes(rest)).unwrap()
}
