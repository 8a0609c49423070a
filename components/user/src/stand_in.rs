//! Auth and orders, as a test has them answer.

use std::cell::RefCell;
use std::collections::HashMap;

use kit::JsonValue;

/// A call that one of them got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) body: JsonValue,
}

thread_local! {
    static ANSWERS: RefCell<HashMap<&'static str, (u16, JsonValue)>> = RefCell::default();
    static ASKED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

/// Has a service answer so from now on. Until then it cannot be reached.
pub(crate) fn answers(service: &'static str, status: u16, body: JsonValue) {
    ANSWERS.with_borrow_mut(|answers| answers.insert(service, (status, body)));
}

/// What was asked so far.
pub(crate) fn asked() -> Vec<Asked> {
    ASKED.with_borrow(Clone::clone)
}

pub(crate) mod peer {
    use super::{ANSWERS, ASKED, Asked};
    use kit::{Failure, JsonValue, Method};

    pub(crate) fn call(
        service: &str,
        method: Method,
        path: &str,
        body: Option<&JsonValue>,
    ) -> Result<(u16, JsonValue), Failure> {
        let what = format!("{method:?} {service} {path}");
        let body = body.cloned().unwrap_or_default();
        ASKED.with_borrow_mut(|asked| asked.push(Asked { what, body }));
        let answer = ANSWERS.with_borrow(|answers| answers.get(service).cloned());
        answer.ok_or_else(|| Failure::unavailable("PEER_UNAVAILABLE", "The service is not there.", 1))
    }
}
