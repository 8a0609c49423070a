//! Header fields, calls to other services, and responses.

use serde::Deserialize;

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam,
    Scheme,
};
use crate::{Bytes, Change, response};

/// A request to another service.
#[derive(Deserialize)]
pub(crate) struct ServiceCall {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
    timeout: u64,
}

/// A response to the request.
#[derive(Deserialize)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

/// The fields that the host accepts, and their number.
fn accepted(entries: &[(String, Bytes)]) -> (Fields, usize) {
    let fields = Fields::new();
    let accepted = entries.iter().filter(|(name, value)| fields.append(name, value).is_ok()).count();
    (fields, accepted)
}

pub(crate) fn fields(entries: &[(String, Bytes)]) -> String {
    let all_at_once = Fields::from_list(entries).map(|fields| fields.entries().len());
    format!("{all_at_once:?} at once, {} one by one", accepted(entries).1)
}

pub(crate) fn change_fields(changes: Vec<Change>) -> String {
    let fields = Fields::new();
    let done = changes.into_iter().filter(|change| match change {
        Change::Append(name, value) => fields.append(name, value).is_ok(),
        Change::Set(name, values) => fields.set(name, values).is_ok(),
        Change::Delete(name) => fields.delete(name).is_ok(),
        Change::Get(name) => fields.has(name) != fields.get(name).is_empty(),
    });
    let done = done.count();
    format!("{done} done, {} entries", fields.clone().entries().len())
}

impl ServiceCall {
    /// Sends the request and waits for the head of the response.
    pub(crate) fn send(self) -> String {
        let request = OutgoingRequest::new(accepted(&self.headers).0);
        let scheme = match self.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => Scheme::Other(self.scheme),
        };
        let method = match self.method.as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "CONNECT" => Method::Connect,
            _ => Method::Other(self.method),
        };
        let set = [
            request.set_method(&method),
            request.set_scheme(Some(&scheme)),
            request.set_authority(Some(&self.authority)),
            request.set_path_with_query(Some(&self.path)),
        ];
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(self.timeout));
        let _ = options.set_first_byte_timeout(Some(self.timeout));
        let _ = options.set_between_bytes_timeout(Some(self.timeout));
        let body = request.body().expect("the body is taken once");
        let sent = outgoing_handler::handle(request, Some(options));
        let written = write(body, &self.body);
        let answer = sent.map(|answer| {
            answer.subscribe().block();
            answer.get().map(|answer| answer.map(|answer| answer.map(|answer| answer.status())))
        });
        format!("{set:?} {answer:?} {written}")
    }
}

impl Answer {
    pub(crate) fn send(self, out: ResponseOutparam) {
        send(out, self.status, accepted(&self.headers).0, &self.body);
    }
}

/// Reads the whole request body.
pub(crate) fn body(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let mut bytes = Vec::new();
    while let Ok(part) = stream.blocking_read(1 << 16) {
        bytes.extend(part);
    }
    bytes
}

/// Sends a response. The status stays 200 if the host refuses `status`.
pub(crate) fn send(out: ResponseOutparam, status: u16, headers: Fields, bytes: &[u8]) {
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    write(response::begin(out, response), bytes);
}

/// Writes a body and finishes it. Stops if the host accepts no more.
fn write(body: OutgoingBody, bytes: &[u8]) -> &'static str {
    let stream = body.write().expect("the stream is taken once");
    let written = bytes.chunks(4096).all(|part| stream.blocking_write_and_flush(part).is_ok());
    drop(stream);
    // The host decides whether the body is correct, for example against its content-length.
    match (written, OutgoingBody::finish(body, None)) {
        (true, Ok(())) => "written",
        _ => "not written",
    }
}
