//! The result of a query, packed into the byte format of `wit/storage.wit`.

mod unpack;

pub use unpack::Cell;

/// The rows of a query and the names of their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows(Vec<u8>);

/// The first byte of each value.
const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

impl Rows {
    /// Starts an empty result with these columns.
    pub fn of<'n>(columns: impl ExactSizeIterator<Item = &'n str>) -> Self {
        let mut rows = Self(Vec::with_capacity(1024));
        rows.length(columns.len());
        columns.for_each(|name| rows.bytes(name.as_bytes()));
        rows
    }

    /// Adds NULL as the next value of the row.
    ///
    /// The other methods add values in the same way.
    pub fn null(&mut self) {
        self.0.push(NULL);
    }

    /// Adds an integer.
    pub fn integer(&mut self, integer: i64) {
        self.0.push(INTEGER);
        self.0.extend_from_slice(&integer.to_le_bytes());
    }

    /// Adds a real number.
    pub fn real(&mut self, real: f64) {
        self.0.push(REAL);
        self.0.extend_from_slice(&real.to_le_bytes());
    }

    /// Adds a text of less than 4 GiB.
    pub fn text(&mut self, text: &str) {
        self.0.push(TEXT);
        self.bytes(text.as_bytes());
    }

    /// Adds a blob of less than 4 GiB.
    pub fn blob(&mut self, blob: &[u8]) {
        self.0.push(BLOB);
        self.bytes(blob);
    }

    /// The packed bytes.
    pub fn into_packed(self) -> Vec<u8> {
        self.0
    }

    /// Overwrites the packed bytes, because they may contain secrets.
    pub fn erase(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }

    fn length(&mut self, length: usize) {
        // Results are limited to far less than 4 GiB.
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}
