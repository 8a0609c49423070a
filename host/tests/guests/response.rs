//! Responses through `wasi:http` 0.2. Shared by several guests.

use crate::bindings::wasi::http::types::{OutgoingBody, OutgoingResponse, ResponseOutparam};

/// Sends the head of a response. Returns its body, which the guest still has to write and finish.
pub(crate) fn begin(out: ResponseOutparam, response: OutgoingResponse) -> OutgoingBody {
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}
