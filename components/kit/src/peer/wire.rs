//! Reads and writes bodies over the host's streams, with as few host calls as possible.

use crate::bindings::wasi::http::types::{IncomingBody, OutgoingBody, OutputStream};
use crate::bindings::wasi::io::streams::StreamError;

/// Why a body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// The body is longer than the limit.
    TooLong,
    /// The sender stopped before the end.
    Incomplete,
}

/// Reads a whole body of at most `limit` bytes.
pub(super) fn read(body: &IncomingBody, limit: usize) -> Result<Vec<u8>, ReadError> {
    const CHUNK_BYTES: u64 = 64 * 1024;
    let stream = body.stream().map_err(|()| ReadError::Incomplete)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > limit => return Err(ReadError::TooLong),
            // Most bodies are one chunk, which needs no copy.
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(ReadError::Incomplete),
        }
    }
}

/// Writes a whole body and finishes it. Waits only while the host's buffer is full, never for a flush.
pub(super) fn write_all(sink: OutgoingBody, bytes: &[u8]) -> Result<(), WriteError> {
    {
        let stream = sink.write().map_err(|()| WriteError)?;
        write_stream(&stream, bytes).map_err(|_| WriteError)?;
    }
    OutgoingBody::finish(sink, None).map_err(|_| WriteError)
}

/// The receiver accepts no more bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteError;

fn write_stream(stream: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
    while !rest.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(room.min(rest.len()));
        stream.write(now)?;
        rest = later;
    }
    Ok(())
}
