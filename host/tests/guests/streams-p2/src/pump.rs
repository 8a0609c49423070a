//! Copies a stream to another one as its bytes arrive, without blocking.

use crate::bindings::wasi::io::poll::{self, Pollable};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// The most bytes that are read at once.
const PIECE_BYTES: u64 = 16 << 10;

pub(crate) struct Pump<'a> {
    from: &'a InputStream,
    to: &'a OutputStream,
    piece: Vec<u8>,
    has_ended: bool,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(from: &'a InputStream, to: &'a OutputStream) -> Self {
        Self { from, to, piece: Vec::new(), has_ended: false }
    }

    /// Whether everything was read and written.
    pub(crate) fn is_done(&self) -> bool {
        self.has_ended && self.piece.is_empty()
    }

    /// What the next step waits for.
    pub(crate) fn waits(&self) -> Vec<Pollable> {
        match (self.is_done(), self.piece.is_empty()) {
            (true, _) => Vec::new(),
            (_, true) => vec![self.from.subscribe()],
            (_, false) => vec![self.to.subscribe()],
        }
    }

    /// Waits, and then steps.
    pub(crate) fn wait(&mut self) {
        let waits = self.waits();
        poll::poll(&waits.iter().collect::<Vec<_>>());
        drop(waits);
        self.step();
    }

    /// Reads or writes what is possible now.
    pub(crate) fn step(&mut self) {
        if self.piece.is_empty() && !self.has_ended {
            match self.from.read(PIECE_BYTES) {
                Ok(data) => self.piece = data,
                Err(StreamError::Closed) => self.has_ended = true,
                Err(StreamError::LastOperationFailed(_)) => panic!("the body broke off"),
            }
        }
        let room = self.to.check_write().expect("the host takes the body");
        let count = self.piece.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if count > 0 {
            let data: Vec<u8> = self.piece.drain(..count).collect();
            self.to.write(&data).expect("there is room");
            self.to.flush().expect("the host takes the body");
        }
    }
}
