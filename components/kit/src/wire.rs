//! HTTP requests over `wasi:http` 0.2, with as few host calls as possible.

use std::time::Duration;

use crate::Method;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WireMethod, OutgoingBody, OutgoingRequest,
    OutputStream, RequestOptions, Scheme,
};
use crate::bindings::wasi::io::error::Error as IoError;
use crate::bindings::wasi::io::streams::StreamError;

/// A request with its whole body.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) scheme: Scheme,
    pub(crate) authority: &'a str,
    /// Percent-encoded.
    pub(crate) path_and_query: &'a str,
    /// Without `content-length`.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Option<&'a [u8]>,
    /// For the response's head, and between parts of its body. None for the host's limits.
    pub(crate) timeout: Option<Duration>,
}

/// Why there is no whole response.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The request is not valid HTTP.
    Invalid(&'static str),
    /// The host could not send it, or not receive all of the response.
    Failed(ErrorCode),
    /// The body of the response is longer than the limit.
    TooLong,
    /// The response ended early. The host may know why.
    Incomplete(Option<IoError>),
}

/// Sends a request and waits for the head of the response.
pub(crate) fn send(outgoing: Outgoing<'_>) -> Result<IncomingResponse, WireError> {
    let (body, options) = (outgoing.body.unwrap_or_default(), options(outgoing.timeout)?);
    let request = request(outgoing)?;
    let sink = request.body().map_err(|()| WireError::Invalid("its body cannot be written twice"))?;
    // Start the request before writing the body, because the host's buffer may be smaller than the body.
    let pending = outgoing_handler::handle(request, options).map_err(WireError::Failed)?;
    let written = write_all(sink, body);
    loop {
        match pending.get() {
            Some(Ok(Ok(response))) => return Ok(response),
            Some(Ok(Err(error))) => return Err(WireError::Failed(error)),
            Some(Err(())) => return Err(WireError::Incomplete(None)),
            None if written.is_err() => return Err(WireError::Failed(ErrorCode::ConnectionTerminated)),
            None => pending.subscribe().block(),
        }
    }
}

fn request(outgoing: Outgoing<'_>) -> Result<OutgoingRequest, WireError> {
    let Outgoing { method, scheme, authority, path_and_query, mut headers, body, .. } = outgoing;
    if let Some(body) = body {
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    }
    let fields = Fields::from_list(&headers).map_err(|_| WireError::Invalid("a header is invalid or forbidden"))?;
    let request = OutgoingRequest::new(fields);
    let method = match method {
        Method::Get => WireMethod::Get,
        Method::Post => WireMethod::Post,
        Method::Put => WireMethod::Put,
        Method::Patch => WireMethod::Patch,
        Method::Delete => WireMethod::Delete,
    };
    request.set_method(&method).map_err(|()| WireError::Invalid("the method is invalid"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| WireError::Invalid("the scheme is invalid"))?;
    request.set_authority(Some(authority)).map_err(|()| WireError::Invalid("the name of the host is invalid"))?;
    request.set_path_with_query(Some(path_and_query)).map_err(|()| WireError::Invalid("the path is invalid"))?;
    Ok(request)
}

fn options(timeout: Option<Duration>) -> Result<Option<RequestOptions>, WireError> {
    let Some(timeout) = timeout else { return Ok(None) };
    let options = RequestOptions::new();
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    options
        .set_first_byte_timeout(Some(nanoseconds))
        .and(options.set_between_bytes_timeout(Some(nanoseconds)))
        .map_err(|()| WireError::Invalid("the host knows no timeouts"))?;
    Ok(Some(options))
}

/// Reads the whole body of a response, of at most `limit` bytes.
pub(crate) fn read(response: &IncomingResponse, limit: usize) -> Result<Vec<u8>, WireError> {
    read_body(&response.consume().map_err(|()| WireError::Incomplete(None))?, limit)
}

fn read_body(body: &IncomingBody, limit: usize) -> Result<Vec<u8>, WireError> {
    const CHUNK_BYTES: u64 = 64 * 1024;
    let stream = body.stream().map_err(|()| WireError::Incomplete(None))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > limit => return Err(WireError::TooLong),
            // Most bodies are one chunk, which needs no copy.
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => return Err(WireError::Incomplete(Some(error))),
        }
    }
}

/// Writes a whole body and finishes it. Waits only while the host's buffer is full, never for a flush.
fn write_all(sink: OutgoingBody, bytes: &[u8]) -> Result<(), WriteError> {
    {
        let stream = sink.write().map_err(|()| WriteError)?;
        write_stream(&stream, bytes).map_err(|_| WriteError)?;
    }
    OutgoingBody::finish(sink, None).map_err(|_| WriteError)
}

/// The receiver accepts no more bytes.
#[derive(Clone, Copy, Debug)]
struct WriteError;

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
