//! Auth, as a test has it answer.

use std::cell::RefCell;

use kit::JsonValue;

/// A call that auth got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) body: JsonValue,
}

thread_local! {
    static ANSWER: RefCell<Option<(u16, JsonValue)>> = const { RefCell::new(None) };
    static ASKED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

/// Has auth answer so from now on. Until then it cannot be reached.
pub(crate) fn auth_answers(status: u16, body: JsonValue) {
    ANSWER.set(Some((status, body)));
}

/// What auth was asked so far.
pub(crate) fn asked() -> Vec<Asked> {
    ASKED.with_borrow(Clone::clone)
}

pub(crate) mod peer {
    use super::{ANSWER, ASKED, Asked};
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
        let answer = ANSWER.with_borrow(Clone::clone);
        answer.ok_or_else(|| Failure::unavailable("PEER_UNAVAILABLE", "Auth is not there.", 1))
    }
}
