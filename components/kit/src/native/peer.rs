//! Other services of the host. A test answers for them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{JsonValue, Method};

/// A call of [`peer::call`](crate::peer::call).
#[derive(Clone, Debug, PartialEq)]
pub struct PeerCall {
    /// The name of the called service.
    pub service: String,
    /// The method.
    pub method: Method,
    /// The path, percent-encoded, with its query.
    pub path: String,
    /// The body. Null without one.
    pub body: JsonValue,
}

type Answer = dyn Fn(&PeerCall) -> Option<(u16, JsonValue)>;

thread_local! {
    static PEERS: RefCell<Option<Rc<Answer>>> = const { RefCell::new(None) };
}

/// Answers the calls of this thread's service: with a status and a body, or with None if the other service cannot be reached.
///
/// Replaces an earlier one. Call it after [`install`](super::install).
pub fn on_peer(answer: impl Fn(&PeerCall) -> Option<(u16, JsonValue)> + 'static) {
    PEERS.set(Some(Rc::new(answer)));
}

pub(crate) fn clear() {
    PEERS.take();
}

pub(crate) fn exchange(
    service: &str,
    method: Method,
    path: &str,
    body: Option<&JsonValue>,
) -> Result<(u16, JsonValue), String> {
    let body = body.cloned().unwrap_or_default();
    let call = PeerCall { service: service.to_owned(), method, path: path.to_owned(), body };
    let answer = PEERS.with_borrow(Clone::clone).ok_or("the test does not call `kit::native::on_peer`")?;
    answer(&call).ok_or_else(|| "the test says so".to_owned())
}
