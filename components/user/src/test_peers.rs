//! Test doubles of auth and orders, with scripted responses.

use std::cell::RefCell;
use std::collections::HashMap;

use kit::JsonValue;

/// A call that one of them received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReceivedCall {
    /// Method, service and path.
    pub(crate) target: String,
    pub(crate) body: JsonValue,
}

thread_local! {
    static RESPONSES: RefCell<HashMap<&'static str, (u16, JsonValue)>> = RefCell::default();
    static RECEIVED: RefCell<Vec<ReceivedCall>> = const { RefCell::new(Vec::new()) };
}

/// Sets a service's response to all further calls. Without one, the service cannot be reached.
pub(crate) fn set_response(service: &'static str, status: u16, body: JsonValue) {
    RESPONSES.with_borrow_mut(|responses| responses.insert(service, (status, body)));
}

/// The calls so far.
pub(crate) fn received_calls() -> Vec<ReceivedCall> {
    RECEIVED.with_borrow(Clone::clone)
}

pub(crate) mod peer {
    use super::{RECEIVED, RESPONSES, ReceivedCall};
    use kit::{Failure, JsonValue, Method};

    pub(crate) fn call(
        service: &str,
        method: Method,
        path: &str,
        body: Option<&JsonValue>,
    ) -> Result<(u16, JsonValue), Failure> {
        let target = format!("{method:?} {service} {path}");
        let body = body.cloned().unwrap_or_default();
        RECEIVED.with_borrow_mut(|received| received.push(ReceivedCall { target, body }));
        let response = RESPONSES.with_borrow(|responses| responses.get(service).cloned());
        response.ok_or_else(|| Failure::unavailable("PEER_UNAVAILABLE", "The service cannot be reached.", 1))
    }
}
