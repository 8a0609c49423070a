//! Remote hosts. A test answers for them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::outbound::{Reason, Request, Response};

/// What a test answers: a response, or the reason why there is none.
#[derive(Clone, Debug)]
pub struct Answer(Result<Response, Reason>);

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer(Ok(response))
    }
}

impl From<Reason> for Answer {
    fn from(reason: Reason) -> Answer {
        Answer(Err(reason))
    }
}

type Remotes = dyn Fn(&Request) -> Answer;

/// Status, headers and body.
type Parts = (u16, Vec<(String, String)>, Vec<u8>);

thread_local! {
    static REMOTES: RefCell<Option<Rc<Remotes>>> = const { RefCell::new(None) };
}

/// Answers the requests that this thread's service sends to remote hosts, with a [`Response`] or a [`Reason`]. Without it, they are
/// [`Denied`](Reason::Denied).
///
/// Replaces an earlier one. Call it after [`install`](super::install).
pub fn on_outbound<A: Into<Answer>>(answer: impl Fn(&Request) -> A + 'static) {
    REMOTES.set(Some(Rc::new(move |request| answer(request).into())));
}

pub(crate) fn clear() {
    REMOTES.take();
}

pub(crate) fn exchange(request: &Request) -> Result<Parts, (Reason, String)> {
    let Some(answer) = REMOTES.with_borrow(Clone::clone) else {
        return Err((Reason::Denied, "the test does not call `kit::native::on_outbound`".to_owned()));
    };
    let Answer(answer) = answer(request);
    if answer.as_ref().is_ok_and(|response| !request.accepts(response.bytes().len())) {
        return Err((Reason::TooLarge, "its body is longer than the limit of the service".to_owned()));
    }
    answer.map(Response::into_parts).map_err(|reason| (reason, "the test says so".to_owned()))
}
