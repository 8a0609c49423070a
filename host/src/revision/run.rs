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
use storage::read_set::ReadSet;
use tokio::time::Instant;
use wasmtime::PoolConcurrencyLimitError;

use super::answer::{Fate, Gone};
use super::handler::{self, Sender};
use super::idle::{Leftover, Place};
use super::instance::{ComputedTooLong, Instance, OutOfMemory};
use super::memory::Whole;
use super::metered::{Meter, Metered};
use super::slots::SlotPermit;
use super::{Answer, Failure, FailureKind, Revision, answer};
use crate::body::Body;
use crate::engine::Speaks;
use crate::gate::GuestRequest;
use crate::guest::bindings::handler::Response as Plain;
use crate::guest::{Excuse, Grants, Guest, Outgoing, Output, Peers};
use crate::printable::excerpt;

/// How long the end of a guest is waited for once it has answered. One that goes on for longer streams its answer.
const END_TIME: Duration = Duration::from_millis(5);

/// Bytes that are told of why a guest failed.
const CAUSE_BYTES: usize = 8 << 10;

/// How a call ended well.
pub(super) struct End {
    /// The answer of a component that speaks plain records. Any other has sent it before.
    answer: Option<Plain>,
    /// What the answer rests on, if that is known.
    read_set: Option<ReadSet>,
    /// What may answer again.
    leftover: Option<Leftover>,
}

impl End {
    /// Lets the instance answer again, if it may.
    fn put_away(self) {
        if let Some(leftover) = self.leftover {
            leftover.put_away();
        }
    }
}

pub(super) type Ended = wasmtime::Result<End>;
pub(super) type Call = Pin<Box<dyn Future<Output = Ended> + Send>>;

impl Revision {
    pub(super) async fn run(
        &self,
        request: GuestRequest,
        grants: Grants,
        peers: Option<Box<dyn Peers>>,
        place: Option<Place>,
        excuse: &Excuse,
    ) -> Result<(Answer, Option<Whole>), Failure> {
        let deadline = Instant::now() + self.limits.time;
        let request_id = request.request_id().cloned();
        let Some(permit) = self.slots.acquire(self.memories, self.limits.queue_time).await else {
            let cause = format!("no instance became free within {:?}", self.limits.queue_time);
            return Err(Failure { kind: FailureKind::Busy, cause, output: None });
        };
        let (sender, mut receiver) = oneshot::channel();
        let outgoing = Outgoing::new(peers, self.forbidden.clone(), excuse.clone());
        let instance = self.instance(place.as_ref(), grants, outgoing);
        let output = instance.output().clone();
        let gone = (self.speaks == Speaks::HttpP3).then(Gone::default);
        let mut call = self.start(request, instance, place, permit, sender, gone.as_ref());
        let ended = tokio::select! {
            biased;
            ended = &mut call => ended,
            Ok(answer) = &mut receiver => {
                let answer = answer.map_err(|error| self.fail(&error, &output))?;
                // An interruption may have come between a guest's answer and its end, which is then a turn or two away.
                if let Ok(ended) = tokio::time::timeout(END_TIME, &mut call).await {
                    let end = ended.map_err(|error| self.fail(&error, &output))?;
                    return self.complete(answer::complete(answer, self.limit()), end, &output, excuse);
                }
                let ended_well = self.finish_beside(call, deadline, &output, request_id);
                let fate = gone.map(|gone| Fate { gone, ended_well });
                let streaming = answer::streaming(answer, self.limit(), fate);
                let streaming = streaming.map_err(|cause| self.bad_answer(&cause, &output))?;
                return Ok((answered(streaming, &output, excuse), None));
            }
            () = tokio::time::sleep_until(deadline) => {
                self.faults.deadlines.fetch_add(1, Ordering::Relaxed);
                let cause = format!("no answer within {:?}", self.limits.time);
                return Err(Failure { kind: FailureKind::TookTooLong, cause, output: output.to_log() });
            }
        };
        let mut end = ended.map_err(|error| self.fail(&error, &output))?;
        let complete = match (end.answer.take(), receiver.try_recv()) {
            (Some(plain), _) => handler::http(plain).and_then(|answer| answer::whole(answer, self.limit())),
            (None, Ok(Some(Ok(answer)))) => answer::complete(answer, self.limit()),
            (None, Ok(Some(Err(error)))) => return Err(self.fail(&error, &output)),
            (None, _) => Err("the guest ended without an answer".to_owned()),
        };
        self.complete(complete, end, &output, excuse)
    }

    /// Bytes that an answer's body may have.
    fn limit(&self) -> usize {
        usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX)
    }

    /// An idle instance of this place, or a new one.
    fn instance(&self, place: Option<&Place>, grants: Grants, outgoing: Outgoing) -> Instance {
        if let Some(mut idle) = place.and_then(Place::take) {
            idle.guest().renew(grants, outgoing);
            return idle;
        }
        let output = Output::new(self.limits.log_bytes);
        Instance::new(&self.handler, Guest::new(&self.clock, grants, &self.limits, outgoing, &output))
    }

    /// One request to one instance, as one future that owns the instance and its slot.
    fn start(
        &self,
        request: GuestRequest,
        mut instance: Instance,
        place: Option<Place>,
        permit: SlotPermit,
        sender: Sender,
        gone: Option<&Gone>,
    ) -> Call {
        let meter = Arc::new(Meter::new(self.ticker.clone()));
        instance.limit_copies(self.limits.response_bytes);
        instance.limit(&self.limits, &meter);
        let (handler, going) = (self.handler.clone(), gone.map(Gone::going));
        let call = async move {
            // In this order: whoever gets the slot next finds the memory free that was the instance's, and a body whose end is
            // not the guest's own finds it noted that the store goes.
            let permit = permit;
            let mut instance = instance;
            let _going = going;
            let (answer, read_set) = instance.answer(&handler, request, sender).await?;
            let leftover = match place {
                Some(place) if instance.guest().is_tidy() => Some(Leftover { place, instance, permit }),
                _ => None,
            };
            Ok(End { answer, read_set, leftover })
        };
        Box::pin(Metered::new(Box::pin(call), meter, self.background.clone(), self.lately.clone()))
    }

    /// Lets a guest that has answered go on, until it is done or its time is over. Tells whether it ended well.
    fn finish_beside(
        &self,
        mut call: Call,
        deadline: Instant,
        output: &Output,
        request_id: Option<Arc<str>>,
    ) -> oneshot::Receiver<bool> {
        let (service, faults, output, time) =
            (self.service.clone(), self.faults.clone(), output.clone(), self.limits.time);
        let (tell, ended_well) = oneshot::channel();
        tokio::spawn(async move {
            let ended = tokio::time::timeout_at(deadline, &mut call).await;
            // The reader of the answer may be gone.
            let _ = tell.send(matches!(ended, Ok(Ok(_))));
            let cause = match ended {
                Ok(Ok(end)) => return end.put_away(),
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
        ended_well
    }

    /// An answer whose guest has ended, and what there is to remember of it: nothing where the guest printed, which giving
    /// the answer again would leave out.
    fn complete(
        &self,
        complete: Result<(Response<Body>, Option<Bytes>), String>,
        mut end: End,
        output: &Output,
        excuse: &Excuse,
    ) -> Result<(Answer, Option<Whole>), Failure> {
        let (response, bytes) = complete.map_err(|cause| self.bad_answer(&cause, output))?;
        let read_set = end.read_set.take().filter(|_| output.is_empty());
        let whole = bytes.map(|bytes| (bytes, read_set));
        let answer = answered(response, output, excuse);
        // Not before its output was read: the next request begins with none.
        end.put_away();
        Ok((answer, whole))
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

/// What went wrong first, then where. The backtrace names functions as the component does.
fn causes(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    excerpt(&causes.into_iter().rev().collect::<Vec<_>>().join("; "), CAUSE_BYTES)
}
