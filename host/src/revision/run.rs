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
use hyper::{Method, Response};
use storage::read_set::ReadSet;
use tokio::time::Instant;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::WasiBody;

use super::answer::{Answer, Begun, StreamNotes};
use super::cache::WholeBody;
use super::causes::causes;
use super::failure::{Failure, FailureKind};
use super::handler::{self, ResponseSender};
use super::idle::{ReusableInstance, ReuseGroup};
use super::instance::{ComputedTooLong, Instance, OutOfMemory};
use super::metered::{Meter, Metered};
use super::slots::{Full, SlotPermit};
use super::stream::Stream;
use super::stream_slots::HeldPermit;
use super::{Revision, answer};
use crate::body::{Body, BodyRefusal, Cut, Exchange};
use crate::engine::HandlerKind;
use crate::gate::GuestRequest;
use crate::guest::bindings::handler::Response as PlainResponse;
use crate::guest::{DependencyFailure, Grants, Guest, GuestEnd, OutcomeUnknown, Outgoing, Output};
use crate::route::Route;
use crate::shares::Client;
use crate::telemetry::{Kind, Parent, Span};
use crate::tokens::Session;

/// How long the host waits for a guest to end after it sent its response. If it runs for longer, the response is streamed.
const END_TIME: Duration = Duration::from_millis(5);

/// The minimum time before the host checks again a guest that waits for its client.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// A request with all that its instance needs.
pub(super) struct Run {
    pub(super) request: GuestRequest,
    pub(super) grants: Grants,
    pub(super) outgoing: Outgoing,
    /// None if the instance must be new.
    pub(super) group: Option<ReuseGroup>,
    /// Records dependency failures.
    pub(super) failure: DependencyFailure,
    /// The client for which a stream counts. None if the host itself makes the request.
    pub(super) client: Option<Client>,
    /// None for an anonymous caller and for a call of another service.
    pub(super) session: Option<Session>,
    /// Where a failure of a stream counts. None for a probe.
    pub(super) route: Option<Arc<Route>>,
    /// The span of the request or call, if it is sampled.
    pub(super) trace: Parent,
}

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

/// What a guest did first.
enum First {
    /// It ended. A `wasi:http` guest may have sent its response before.
    Ended(Completed),
    /// It sent its response, and still runs.
    Sent(Response<WasiBody>),
}

/// The answer and, if the guest has ended, the whole body for the cache.
type Ran = Result<(Answer, Option<WholeBody>), Failure>;

/// One request while its guest runs.
struct Running<'a> {
    revision: &'a Revision,
    exchange: Arc<Exchange>,
    /// Whether the request's body streams. Then the permit is for a stream already.
    has_stream: bool,
    permit: Arc<HeldPermit>,
    client: Option<Client>,
    output: Output,
    failure: DependencyFailure,
    /// None for WASI 0.2.
    guest_end: Option<GuestEnd>,
}

impl Revision {
    /// Runs a request in an instance.
    pub(super) async fn run(&self, run: Run) -> Ran {
        let Run { request, grants, outgoing, group, failure, client, session, route, trace } = run;
        let (request_id, is_head) = (request.request_id().cloned(), request.head().method == Method::HEAD);
        let exchange = request.body().exchange().cloned();
        let has_stream = exchange.is_some();
        let waiting = trace.child("wait for an instance", Kind::Internal);
        let permit = if has_stream { self.stream_permit(client.as_ref()).await } else { self.permit().await };
        drop(waiting);
        let span = self.guest_span(&trace);
        let outgoing = outgoing.traced(span.parent());
        let (sender, receiver) = oneshot::channel();
        let guest_end = outgoing.guest_end().clone();
        let instance = self.instance(group.as_ref(), grants, outgoing);
        let (is_repeated, fault) = (instance.requests() > 0, failure.clone());
        let running = Running {
            revision: self,
            exchange: exchange.unwrap_or_default(),
            has_stream,
            permit: HeldPermit::new(permit?),
            client,
            output: instance.output().clone(),
            failure,
            guest_end: (self.handler_kind == HandlerKind::HttpP3).then(|| guest_end.clone()),
        };
        let call = self.start(request, instance, group, running.permit.clone(), sender, (&guest_end, span));
        let ran = running.answer(call, receiver, StreamOf { request_id, is_head, session, route }).await;
        if is_repeated {
            self.note_repeated(&ran, &fault);
        }
        ran
    }

    /// Notes whether an instance that had answered before answered again. A failure through limits or dependencies says nothing.
    fn note_repeated(&self, ran: &Ran, fault: &DependencyFailure) {
        let failed = |failure: &Failure| matches!(failure.kind, FailureKind::Trapped | FailureKind::BadAnswer);
        match ran {
            Ok(_) => self.discards.repeated(true),
            Err(failure) if failed(failure) && fault.cause().is_none() => self.discards.repeated(false),
            Err(_) => {}
        }
    }

    /// Refuses a request that waited for an instance for too long.
    fn refuse(&self, full: Full) -> Failure {
        self.slots.count_refused(full);
        Failure { kind: FailureKind::Busy, cause: full.explain(&self.service, &self.limits), output: None }
    }

    /// Maximum bytes of a response's body.
    fn response_limit(&self) -> usize {
        usize::try_from(self.limits.response_bytes).unwrap_or(usize::MAX)
    }

    async fn permit(&self) -> Result<SlotPermit, Failure> {
        let permit = self.slots.acquire(self.host_instances, self.limits.queue_time).await;
        permit.map_err(|full| self.refuse(full))
    }

    async fn stream_permit(&self, client: Option<&Client>) -> Result<SlotPermit, Failure> {
        let permit = self.stream_slots.acquire(client, self.host_instances, self.limits.queue_time).await;
        permit.map_err(|full| Failure { kind: FailureKind::TooManyStreams, cause: full.to_string(), output: None })
    }

    /// The span of a guest.
    fn guest_span(&self, trace: &Parent) -> Span {
        let mut span = trace.child("guest", Kind::Internal);
        span.set("comptoir.service", || self.service.to_string());
        span.set("comptoir.revision", || self.label.to_str().unwrap_or_default().to_owned());
        span
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
        permit: Arc<HeldPermit>,
        sender: ResponseSender,
        (guest_end, mut span): (&GuestEnd, Span),
    ) -> GuestCall {
        let meter = Arc::new(Meter::new(self.ticker.clone()));
        instance.limit_copies(self.limits.response_bytes);
        instance.limit_time(&self.limits, &meter);
        let (handler, guard) = (self.handler.clone(), guest_end.guard());
        let call = async move {
            // These are dropped in reverse order. First the guard notes how the guest ended. Then the instance ends its bodies and
            // frees its memory. Then the permit frees the slot for the next request.
            let permit = permit;
            let mut instance = instance;
            let mut guard = guard;
            let answered = instance.answer(&handler, request, sender).await;
            if let Err(error) = &answered {
                span.fail(|| causes(error));
            }
            drop(span);
            let (plain, read_set) = answered?;
            guard.succeed();
            let reusable = group.and_then(|group| ReusableInstance::new(group, instance, permit));
            Ok(Completed { plain, read_set, reusable })
        };
        Box::pin(Metered::new(Box::pin(call), meter, self.background.clone(), self.long_calls.clone()))
    }
}

/// What the host needs to know about a request whose response streams.
struct StreamOf {
    request_id: Option<Arc<str>>,
    is_head: bool,
    session: Option<Session>,
    route: Option<Arc<Route>>,
}

impl Running<'_> {
    /// Waits for the response, and for the guest's end or a stream.
    async fn answer(
        self,
        mut call: GuestCall,
        mut receiver: oneshot::Receiver<Result<Response<WasiBody>, wasmtime::Error>>,
        of: StreamOf,
    ) -> Ran {
        let (answer, completed) = match self.until_response(&mut call, &mut receiver).await? {
            First::Sent(answer) => (answer, None),
            First::Ended(mut completed) => match (completed.plain.take(), receiver.try_recv()) {
                (Some(plain), _) => return self.complete_plain(plain, completed),
                (None, Ok(Some(Ok(answer)))) => (answer, Some(completed)),
                (None, Ok(Some(Err(error)))) => return Err(self.fail(&error)),
                (None, _) => return Err(self.bad_answer("the guest ended without an answer")),
            },
        };
        let mut begun = Begun::new(answer).map_err(|cause| self.bad_answer(&cause))?;
        let completed = match completed {
            None => self.settle(&mut call, &mut begun).await?,
            ended => ended,
        };
        self.check_cut()?;
        match completed {
            Some(completed) => self.complete(begun.whole(self.revision.response_limit()), completed),
            None => Ok(self.stream(begun, call, of)),
        }
    }

    /// Waits until the guest ends or sends its response.
    async fn until_response(
        &self,
        call: &mut GuestCall,
        receiver: &mut oneshot::Receiver<Result<Response<WasiBody>, wasmtime::Error>>,
    ) -> Result<First, Failure> {
        loop {
            let first = tokio::select! {
                biased;
                result = &mut *call => Some(result.map(First::Ended)),
                Ok(answer) = &mut *receiver => Some(answer.map(First::Sent)),
                () = self.exchange.changed() => None,
                () = tokio::time::sleep(self.time_left()?) => None,
            };
            // If the body was refused while the guest ended because of that, the client should learn the reason.
            self.check_cut()?;
            if let Some(first) = first {
                return first.map_err(|error| self.fail(&error));
            }
        }
    }

    /// How long the host may wait for the response before it looks again. Cuts the exchange if its client is idle.
    ///
    /// # Errors
    /// The `time` of the request is over.
    fn time_left(&self) -> Result<Duration, Failure> {
        let limits = &self.revision.limits;
        let left = limits.time.saturating_sub(self.exchange.worked());
        let Some(waits) = self.exchange.waits() else {
            if left.is_zero() {
                self.revision.faults.deadlines.fetch_add(1, Ordering::Relaxed);
                let cause = format!("no answer within {:?}", limits.time);
                return Err(Failure { kind: FailureKind::TookTooLong, cause, output: self.output.to_log() });
            }
            // A guest may begin to wait for its client at any moment. Only a body that streams can be idle.
            return Ok(if self.has_stream { left.min(limits.idle_time) } else { left });
        };
        let lasts = limits.stream_time.map(|time| time.saturating_sub(self.exchange.began().elapsed()));
        let idle = limits.idle_time.saturating_sub(waits.elapsed()).min(lasts.unwrap_or(Duration::MAX));
        if idle.is_zero() {
            self.exchange.cut_off(Cut::Request(BodyRefusal::TooSlow));
        }
        // The guest may stop waiting for the client at any moment, and then its own time goes on.
        Ok(idle.min(left.max(SHORTEST_WAIT)))
    }

    /// Waits shortly for the guest's end, and collects the body meanwhile. None if the response streams: then the permit is for a stream.
    async fn settle(&self, call: &mut GuestCall, begun: &mut Begun) -> Result<Option<Completed>, Failure> {
        // The guest was interrupted between its response and its end, which is usually one or two turns later.
        if let Ok(result) = tokio::time::timeout(END_TIME, ended(call, begun)).await {
            return result.map(Some).map_err(|error| self.fail(&error));
        }
        if self.has_stream {
            return Ok(None);
        }
        // If there is no slot for a stream, the guest may still end in the time for which requests queue.
        let until = Instant::now() + self.revision.limits.queue_time;
        let permit = async {
            let permit = self.revision.stream_permit(self.client.as_ref()).await;
            if permit.is_err() {
                tokio::time::sleep_until(until).await;
            }
            permit
        };
        tokio::select! {
            biased;
            result = ended(call, begun) => result.map(Some).map_err(|error| self.fail(&error)),
            permit = permit => {
                self.permit.replace(permit?);
                Ok(None)
            }
        }
    }

    /// The answer of a guest that streams it.
    fn stream(self, begun: Begun, call: GuestCall, of: StreamOf) -> (Answer, Option<WholeBody>) {
        let StreamOf { request_id, is_head, session, route } = of;
        let (revision, exchange, output, failure) = (self.revision, self.exchange, self.output, self.failure);
        let stream = Stream {
            service: revision.service.clone(),
            request_id,
            limits: revision.limits,
            exchange: exchange.clone(),
            session,
            replaced: revision.replaced.subscribe(),
            permit: self.permit,
            output: output.clone(),
            failure: failure.clone(),
            faults: revision.faults.clone(),
            traffic: route.map(|route| (revision.traffic.clone(), route)),
        };
        stream.watch(Box::pin(async { call.await.map(Completed::store_instance) }));
        let response = begun.stream(&exchange, revision.limits.response_bytes, self.guest_end, is_head);
        let dependency_failure = failure.cause().map(str::to_owned);
        let stream = Some(StreamNotes { output, failure });
        (Answer { response, output: None, dependency_failure, stream }, None)
    }

    fn complete_plain(self, plain: PlainResponse, completed: Completed) -> Ran {
        let whole = handler::http(plain).and_then(|plain| answer::whole(plain, self.revision.response_limit()));
        self.complete(whole, completed)
    }

    /// The answer of a guest that has ended, and the body for the cache.
    ///
    /// If the guest printed, the read set is dropped, because a cached response would not print again.
    fn complete(&self, complete: Result<(Response<Body>, Option<Bytes>), String>, mut completed: Completed) -> Ran {
        let (response, bytes) = complete.map_err(|cause| self.bad_answer(&cause))?;
        let read_set = completed.read_set.take().filter(|_| self.output.is_empty());
        let whole = bytes.map(|bytes| (bytes, read_set));
        let dependency_failure = self.failure.cause().map(str::to_owned);
        let answer = Answer { response, output: self.output.to_log(), dependency_failure, stream: None };
        // Last, because the instance's next request clears the output.
        completed.store_instance();
        Ok((answer, whole))
    }

    /// # Errors
    /// The exchange was cut.
    fn check_cut(&self) -> Result<(), Failure> {
        let Some(cut) = self.exchange.cut() else { return Ok(()) };
        let kind = match cut {
            Cut::Request(refusal) => FailureKind::Body(refusal),
            _ => FailureKind::TookTooLong,
        };
        Err(Failure { kind, cause: cut.to_string(), output: self.output.to_log() })
    }

    fn bad_answer(&self, cause: &str) -> Failure {
        self.revision.faults.traps.fetch_add(1, Ordering::Relaxed);
        Failure { kind: FailureKind::BadAnswer, cause: cause.to_owned(), output: self.output.to_log() }
    }

    fn fail(&self, error: &wasmtime::Error) -> Failure {
        let faults = &self.revision.faults;
        let (kind, count) = if error.is::<PoolConcurrencyLimitError>() {
            self.revision.slots.count_refused(Full::Instances);
            (FailureKind::Busy, None)
        } else if error.is::<ComputedTooLong>() {
            (FailureKind::ComputedTooLong, Some(&faults.deadlines))
        } else if error.is::<OutcomeUnknown>() {
            (FailureKind::OutcomeUnknown, None)
        } else if error.is::<OutOfMemory>() {
            (FailureKind::OutOfMemory, Some(&faults.traps))
        } else {
            (FailureKind::Trapped, Some(&faults.traps))
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Failure { kind, cause: causes(error), output: self.output.to_log() }
    }
}

/// Runs the guest to its end, and collects what it writes.
async fn ended(call: &mut GuestCall, begun: &mut Begun) -> wasmtime::Result<Completed> {
    std::future::poll_fn(|context| {
        let polled = call.as_mut().poll(context);
        if polled.is_pending() {
            begun.poll_fill(context);
        }
        polled
    })
    .await
}
