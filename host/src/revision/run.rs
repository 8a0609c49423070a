//! Runs one request in one instance, from the slot to the response.
//!
//! A plain handler has answered when its call returns. A `wasi:http` handler sends its response while it runs, and may then write the
//! body for longer.

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

use super::answer::{GuestEnd, StoreDropped};
use super::cache::WholeBody;
use super::handler::{self, ResponseSender};
use super::idle::{ReusableInstance, ReuseGroup};
use super::instance::{ComputedTooLong, Instance, OutOfMemory};
use super::metered::{Meter, Metered};
use super::slots::SlotPermit;
use super::{Answer, Failure, FailureKind, Revision, answer};
use crate::body::Body;
use crate::engine::HandlerKind;
use crate::gate::GuestRequest;
use crate::guest::bindings::handler::Response as PlainResponse;
use crate::guest::{DependencyFailure, Grants, Guest, Outgoing, Output};
use crate::printable::excerpt;

/// How long the host waits for a guest to end after it sent its response. If it runs for longer, the response is streamed.
const END_TIME: Duration = Duration::from_millis(5);

/// Maximum bytes of a guest's error that are logged.
const CAUSE_BYTES: usize = 8 << 10;

/// The result of a guest's call that ended without an error.
struct Completed {
    /// The response of a plain handler. A `wasi:http` handler has sent its response before.
    plain: Option<PlainResponse>,
    /// The response's read set, if the host knows it.
    read_set: Option<ReadSet>,
    /// The instance, if it may answer another request.
    reusable: Option<ReusableInstance>,
}

impl Completed {
    /// Keeps the instance for another request, if it may be reused.
    fn store_instance(self) {
        if let Some(reusable) = self.reusable {
            reusable.store();
        }
    }
}

/// A running guest call. Dropping it drops the instance and frees its slot.
type GuestCall = Pin<Box<dyn Future<Output = wasmtime::Result<Completed>> + Send>>;

impl Revision {
    /// Runs a request in an instance. Returns the answer and, if the guest has ended, the whole body for the cache.
    ///
    /// `group` is none if the instance must be new. Dependency failures are recorded in `failure`.
    pub(super) async fn run(
        &self,
        request: GuestRequest,
        grants: Grants,
        outgoing: Outgoing,
        group: Option<ReuseGroup>,
        failure: &DependencyFailure,
    ) -> Result<(Answer, Option<WholeBody>), Failure> {
        let deadline = Instant::now() + self.limits.time;
        let request_id = request.request_id().cloned();
        let Some(permit) = self.slots.acquire(self.host_instances, self.limits.queue_time).await else {
            let cause = format!("no instance became free within {:?}", self.limits.queue_time);
            return Err(Failure { kind: FailureKind::Busy, cause, output: None });
        };
        let (sender, mut receiver) = oneshot::channel();
        let instance = self.instance(group.as_ref(), grants, outgoing);
        let output = instance.output().clone();
        let store_dropped = (self.handler_kind == HandlerKind::HttpP3).then(StoreDropped::default);
        let mut call = self.start(request, instance, group, permit, sender, store_dropped.as_ref());
        let result = tokio::select! {
            biased;
            result = &mut call => result,
            Ok(answer) = &mut receiver => {
                let answer = answer.map_err(|error| self.fail(&error, &output))?;
                // The guest was interrupted between its response and its end, which is usually one or two turns later.
                if let Ok(result) = tokio::time::timeout(END_TIME, &mut call).await {
                    let completed = result.map_err(|error| self.fail(&error, &output))?;
                    let complete = answer::complete(answer, self.response_limit());
                    return self.complete(complete, completed, &output, failure);
                }
                let succeeded = self.finish_in_task(call, deadline, &output, request_id);
                let guest_end = store_dropped.map(|store_dropped| GuestEnd { store_dropped, succeeded });
                let streaming = answer::streaming(answer, self.response_limit(), guest_end);
                let streaming = streaming.map_err(|cause| self.bad_answer(&cause, &output))?;
                return Ok((new_answer(streaming, &output, failure), None));
            }
            () = tokio::time::sleep_until(deadline) => {
                self.faults.deadlines.fetch_add(1, Ordering::Relaxed);
                let cause = format!("no answer within {:?}", self.limits.time);
                return Err(Failure { kind: FailureKind::TookTooLong, cause, output: output.to_log() });
            }
        };
        let mut completed = result.map_err(|error| self.fail(&error, &output))?;
        let complete = match (completed.plain.take(), receiver.try_recv()) {
            (Some(plain), _) => handler::http(plain).and_then(|answer| answer::whole(answer, self.response_limit())),
            (None, Ok(Some(Ok(answer)))) => answer::complete(answer, self.response_limit()),
            (None, Ok(Some(Err(error)))) => return Err(self.fail(&error, &output)),
            (None, _) => Err("the guest ended without an answer".to_owned()),
        };
        self.complete(complete, completed, &output, failure)
    }

    /// Maximum bytes of a response's body.
    fn response_limit(&self) -> usize {
        usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX)
    }

    /// An idle instance of the group, or a new one.
    fn instance(&self, group: Option<&ReuseGroup>, grants: Grants, outgoing: Outgoing) -> Instance {
        if let Some(mut idle) = group.and_then(ReuseGroup::take) {
            idle.guest().renew(grants, outgoing);
            return idle;
        }
        let output = Output::new(self.limits.log_bytes).without(self.grants.secrets.clone());
        Instance::new(&self.handler, Guest::new(&self.clock, grants, self.limits.memory_bytes, outgoing, &output))
    }

    /// Starts the guest's call. The returned future owns the instance and its slot.
    fn start(
        &self,
        request: GuestRequest,
        mut instance: Instance,
        group: Option<ReuseGroup>,
        permit: SlotPermit,
        sender: ResponseSender,
        store_dropped: Option<&StoreDropped>,
    ) -> GuestCall {
        let meter = Arc::new(Meter::new(self.ticker.clone()));
        instance.limit_copies(self.limits.response_bytes);
        instance.limit_time(&self.limits, &meter);
        let (handler, guard) = (self.handler.clone(), store_dropped.map(StoreDropped::guard));
        let call = async move {
            // These are dropped in reverse order. First the guard reports that the store is dropped. Then the instance ends its bodies and
            // frees its memory. Then the permit frees the slot for the next request.
            let permit = permit;
            let mut instance = instance;
            let _guard = guard;
            let (plain, read_set) = instance.answer(&handler, request, sender).await?;
            let reusable = match group {
                Some(group) if instance.guest().is_tidy() => Some(ReusableInstance { group, instance, permit }),
                _ => None,
            };
            Ok(Completed { plain, read_set, reusable })
        };
        Box::pin(Metered::new(Box::pin(call), meter, self.background.clone(), self.long_calls.clone()))
    }

    /// Runs a call to its end in a task, after the guest has sent its response.
    ///
    /// Reports whether the guest ended without an error before the deadline.
    fn finish_in_task(
        &self,
        mut call: GuestCall,
        deadline: Instant,
        output: &Output,
        request_id: Option<Arc<str>>,
    ) -> oneshot::Receiver<bool> {
        let (service, faults, output, time) =
            (self.service.clone(), self.faults.clone(), output.clone(), self.limits.time);
        let (report, succeeded) = oneshot::channel();
        tokio::spawn(async move {
            let result = tokio::time::timeout_at(deadline, &mut call).await;
            // If the client disconnected, nothing receives the report.
            let _ = report.send(matches!(result, Ok(Ok(_))));
            let cause = match result {
                Ok(Ok(completed)) => return completed.store_instance(),
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
        succeeded
    }

    /// The answer of a guest that has ended, and the body for the cache.
    ///
    /// If the guest printed, the read set is dropped, because a cached response would not print again.
    fn complete(
        &self,
        complete: Result<(Response<Body>, Option<Bytes>), String>,
        mut completed: Completed,
        output: &Output,
        failure: &DependencyFailure,
    ) -> Result<(Answer, Option<WholeBody>), Failure> {
        let (response, bytes) = complete.map_err(|cause| self.bad_answer(&cause, output))?;
        let read_set = completed.read_set.take().filter(|_| output.is_empty());
        let whole = bytes.map(|bytes| (bytes, read_set));
        let answer = new_answer(response, output, failure);
        // Last, because the instance's next request clears the output.
        completed.store_instance();
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

fn new_answer(response: Response<Body>, output: &Output, failure: &DependencyFailure) -> Answer {
    Answer { response, output: output.to_log(), dependency_failure: failure.cause().map(str::to_owned) }
}

/// The chain of an error, root cause first. A backtrace uses the component's own function names.
fn causes(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    excerpt(&causes.into_iter().rev().collect::<Vec<_>>().join("; "), CAUSE_BYTES)
}
