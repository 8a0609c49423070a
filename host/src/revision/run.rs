//! One request, put to one instance, from its store to its answer.
//!
//! A component that speaks plain records has answered when its call returns. One that speaks `wasi:http` hands its answer over
//! while it runs, and may go on to write the body.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use hyper::Response;
use tokio::time::Instant;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::WasiBody;

use super::handler::{self, Handler};
use super::memory::Whole;
use super::metered::{Meter, Metered};
use super::slots::SlotPermit;
use super::{Answer, ComputedTooLong, Failure, FailureKind, Revision, answer};
use crate::body::{Body, RequestBody};
use crate::gate::Admitted;
use crate::guest::bindings::handler::Response as Plain;
use crate::guest::{Excuse, Grants, Outgoing, Output, Peers};
use crate::storage::basis::Basis;

/// How long the end of a guest is waited for once it has answered. One that goes on for longer streams its answer.
const END_TIME: Duration = Duration::from_millis(5);

/// How a call ended well.
pub(super) struct End {
    /// The answer of a component that speaks plain records. Any other has sent it before.
    answer: Option<Plain>,
    /// What the answer rests on, if that is known.
    basis: Option<Basis>,
}

pub(super) type Ended = wasmtime::Result<End>;
pub(super) type Call = Pin<Box<dyn Future<Output = Ended> + Send>>;
pub(super) type Sender = oneshot::Sender<Result<Response<WasiBody>, wasmtime::Error>>;

impl Revision {
    pub(super) async fn run(
        &self,
        admitted: Admitted,
        body: RequestBody,
        grants: Grants,
        peers: Option<Box<dyn Peers>>,
        excuse: &Excuse,
    ) -> Result<(Answer, Option<Whole>), Failure> {
        let deadline = Instant::now() + self.limits.time;
        let output = Output::new(self.limits.log_bytes);
        let request_id = admitted.request_id().cloned();
        let Some(permit) = self.slots.acquire(self.memories, self.limits.queue_time).await else {
            let cause = format!("no instance became free within {:?}", self.limits.queue_time);
            return Err(Failure { kind: FailureKind::Busy, cause, output: None });
        };
        let (sender, mut receiver) = oneshot::channel();
        let outgoing = Outgoing::new(peers, self.forbidden.clone(), excuse.clone());
        let mut call = self.start((admitted, body), grants, outgoing, &output, permit, sender);
        let ended = tokio::select! {
            biased;
            ended = &mut call => ended,
            Ok(answer) = &mut receiver => {
                let answer = answer.map_err(|error| self.fail(&error, &output))?;
                // An interruption may have come between a guest's answer and its end, which is then a turn or two away.
                if let Ok(ended) = tokio::time::timeout(END_TIME, &mut call).await {
                    let end = ended.map_err(|error| self.fail(&error, &output))?;
                    return self.complete(answer::complete(answer, self.limit()), end.basis, &output, excuse);
                }
                self.finish_beside(call, deadline, &output, request_id);
                let streaming = answer::streaming(answer, self.limit());
                let streaming = streaming.map_err(|cause| self.bad_answer(&cause, &output))?;
                return Ok((answered(streaming, &output, excuse), None));
            }
            () = tokio::time::sleep_until(deadline) => {
                self.faults.deadlines.fetch_add(1, Ordering::Relaxed);
                let cause = format!("no answer within {:?}", self.limits.time);
                return Err(Failure { kind: FailureKind::TookTooLong, cause, output: output.to_log() });
            }
        };
        let End { answer, basis } = ended.map_err(|error| self.fail(&error, &output))?;
        let complete = match (answer, receiver.try_recv()) {
            (Some(plain), _) => handler::http(plain).and_then(|answer| answer::whole(answer, self.limit())),
            (None, Ok(Some(Ok(answer)))) => answer::complete(answer, self.limit()),
            (None, Ok(Some(Err(error)))) => return Err(self.fail(&error, &output)),
            (None, _) => Err("the guest ended without an answer".to_owned()),
        };
        self.complete(complete, basis, &output, excuse)
    }

    /// Bytes that an answer's body may have.
    fn limit(&self) -> usize {
        usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX)
    }

    /// The whole life of one instance, as one future that owns its store and its slot.
    fn start(
        &self,
        (admitted, body): (Admitted, RequestBody),
        grants: Grants,
        outgoing: Outgoing,
        output: &Output,
        permit: SlotPermit,
        sender: Sender,
    ) -> Call {
        let meter = Arc::new(Meter::default());
        let store = self.store(grants, outgoing, output, &meter);
        let handler = self.handler.clone();
        let call = async move {
            // In this order: whoever gets the place next finds the memory free that was the store's.
            let _permit = permit;
            let mut store = store;
            let answer = match &*handler {
                Handler::Plain(pre) => {
                    drop(sender);
                    handler::plain(pre, &mut store, admitted.head(), &body.bytes).await.map(Some)
                }
                Handler::P2(pre) => {
                    handler::p2(pre, &mut store, handler::wasi(admitted, body), sender).await.map(|()| None)
                }
                Handler::P3(pre) => {
                    let request = handler::wasi(admitted, body);
                    // It may sleep without being noted, so nothing can be said of what its answer rests on.
                    store.data_mut().basis();
                    handler::p3(pre, &mut store, request, sender).await.map(|()| None)
                }
            };
            let (basis, out_of_memory) = (store.data_mut().basis(), store.data().limiter.refused_memory());
            let ended = answer.map(|answer| End { answer, basis });
            ended.map_err(|error| if out_of_memory { error.context(OutOfMemory) } else { error })
        };
        Box::pin(Metered::new(Box::pin(call), meter, self.background.clone()))
    }

    /// Lets a guest that has answered go on, until it is done or its time is over.
    fn finish_beside(&self, call: Call, deadline: Instant, output: &Output, request_id: Option<Arc<str>>) {
        let (service, faults, output, time) =
            (self.service.clone(), self.faults.clone(), output.clone(), self.limits.time);
        tokio::spawn(async move {
            let cause = match tokio::time::timeout_at(deadline, call).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => {
                    faults.traps.fetch_add(1, Ordering::Relaxed);
                    causes(&error)
                }
                Err(_) => {
                    faults.deadlines.fetch_add(1, Ordering::Relaxed);
                    format!("the answer was not complete within {time:?}")
                }
            };
            let (guest_output, request_id) = (output.to_log(), request_id.as_deref());
            tracing::warn!(request_id, %service, cause, guest_output, "an answer was cut short: the guest failed while it streamed");
        });
    }

    /// An answer whose guest has ended, and what there is to remember of it: nothing where the guest printed, which giving
    /// the answer again would leave out.
    fn complete(
        &self,
        complete: Result<(Response<Body>, Option<Bytes>), String>,
        basis: Option<Basis>,
        output: &Output,
        excuse: &Excuse,
    ) -> Result<(Answer, Option<Whole>), Failure> {
        let (response, bytes) = complete.map_err(|cause| self.bad_answer(&cause, output))?;
        let whole = bytes.zip(basis).filter(|_| output.is_empty());
        Ok((answered(response, output, excuse), whole))
    }

    fn bad_answer(&self, cause: &str, output: &Output) -> Failure {
        self.faults.traps.fetch_add(1, Ordering::Relaxed);
        Failure { kind: FailureKind::BadAnswer, cause: cause.to_owned(), output: output.to_log() }
    }

    fn fail(&self, error: &wasmtime::Error, output: &Output) -> Failure {
        let (kind, count) = if error.is::<PoolConcurrencyLimitError>() {
            (FailureKind::Busy, None)
        } else if error.is::<ComputedTooLong>() {
            (FailureKind::ComputedTooLong, Some(&self.faults.deadlines))
        } else if error.is::<OutOfMemory>() {
            (FailureKind::OutOfMemory, Some(&self.faults.traps))
        } else {
            (FailureKind::Trapped, Some(&self.faults.traps))
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Failure { kind, cause: causes(error), output: output.to_log() }
    }
}

fn answered(response: Response<Body>, output: &Output, excuse: &Excuse) -> Answer {
    Answer { response, output: output.to_log(), excuse: excuse.cause().map(str::to_owned) }
}

/// What went wrong first, then where.
fn causes(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.into_iter().rev().collect::<Vec<_>>().join("; ")
}

#[derive(Debug, thiserror::Error)]
#[error("the guest was refused more memory")]
struct OutOfMemory;
