//! Bodies over the host's streams, with as few crossings as it takes.

use crate::Response;
use crate::bindings::wasi::http::types::{
    Fields, IncomingBody, OutgoingBody, OutgoingResponse, OutputStream, ResponseOutparam,
};
use crate::bindings::wasi::io::streams::StreamError;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// It is longer than the limit.
    TooLong,
    /// The other side broke off.
    Broken,
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) fn read(body: &IncomingBody, limit: usize) -> Result<Vec<u8>, ReadError> {
    const CHUNK_BYTES: u64 = 64 * 1024;
    let stream = body.stream().map_err(|()| ReadError::Broken)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > limit => return Err(ReadError::TooLong),
            // Most bodies are one chunk: it is kept, not copied.
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(ReadError::Broken),
        }
    }
}

/// Sends a response. If the client is gone there is nobody left to tell, so a failure to write ends it in silence.
pub(crate) fn send(response: Response, out: ResponseOutparam) {
    let (status, extra, body) = response.into_parts();
    let mut headers = vec![
        ("content-type".to_owned(), b"application/json".to_vec()),
        ("content-length".to_owned(), body.len().to_string().into_bytes()),
    ];
    headers.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned().into_bytes())));
    let headers = match Fields::from_list(&headers) {
        Ok(headers) => headers,
        Err(error) => {
            eprintln!("a header was refused, so the answer goes without any: {error:?}");
            Fields::new()
        }
    };
    let outgoing = OutgoingResponse::new(headers);
    if status != 200 && outgoing.set_status_code(status).is_err() {
        eprintln!("{status} is no HTTP status");
    }
    let sink = outgoing.body();
    ResponseOutparam::set(out, Ok(outgoing));
    if let Ok(sink) = sink {
        let _ = write_all(sink, &body);
    }
}

/// Writes a whole body and ends it. Waits for the host only when it has no room left, and never for a flush.
pub(crate) fn write_all(sink: OutgoingBody, bytes: &[u8]) -> Result<(), WriteError> {
    {
        let stream = sink.write().map_err(|()| WriteError)?;
        write_stream(&stream, bytes).map_err(|_| WriteError)?;
    }
    OutgoingBody::finish(sink, None).map_err(|_| WriteError)
}

/// The other side takes no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteError;

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
