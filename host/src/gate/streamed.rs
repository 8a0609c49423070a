//! The body of a request that passes while it arrives: each piece is checked, because the request was admitted before it came.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{BodyRefusal, Remaining, RequestBody};
use crate::head::keep_trailers_for_route;
use crate::route::Route;
use crate::tokens::Session;

/// Removes the trailers that the guest must not see, and checks the session for each piece that still has to arrive.
pub(super) fn guard(body: RequestBody, route: &Arc<Route>, session: Option<&Session>) -> RequestBody {
    let body = body.map_trailers(|trailers| keep_trailers_for_route(trailers, route));
    body.map_rest(|body| Guarded { body, route: route.clone(), session: session.cloned() }.boxed_unsync())
}

struct Guarded {
    body: Remaining,
    route: Arc<Route>,
    /// None for an anonymous caller and for a call of another service.
    session: Option<Session>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BodyRefusal;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyRefusal>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        if self.session.as_ref().is_some_and(Session::has_ended) {
            return Poll::Ready(Some(Err(BodyRefusal::SessionEnded)));
        }
        Poll::Ready(Some(frame.map(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                keep_trailers_for_route(trailers, &self.route);
            }
            frame
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
