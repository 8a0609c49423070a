//! The spans of sampled requests and deploys.
//!
//! `traces` sets the tracer if the environment asks for traces. Without one, [`Span::begin`] costs one load of a pointer, and everything
//! that follows from it one comparison: a span that is not sampled is None, and so are its children. Names and attributes are closures,
//! which run only for sampled spans.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

/// None as long as the environment does not ask for traces.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Which side of a conversation a span shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step within the host.
    Internal,
    /// The answer to a client.
    Server,
    /// A request to a database, another service or a remote host.
    Client,
}

/// A span that runs. It ends when it is dropped. Does nothing if it is not sampled.
#[derive(Default)]
pub struct Span(Option<Box<SdkSpan>>);

/// What the children of a span need to know of it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Parent(Option<Arc<SpanContext>>);

/// Sets the tracer of this process. Later calls have no effect.
pub fn set_tracer(tracer: SdkTracer) {
    let _is_first = TRACER.set(tracer).is_ok();
}

impl Span {
    /// Begins a span without a parent in this host. `client` is a valid `traceparent`, whose span becomes the parent.
    pub fn begin(name: &'static str, kind: Kind, client: Option<&str>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self::default() };
        let parent = client
            .and_then(remote)
            .map_or_else(Context::default, |parent| Context::default().with_remote_span_context(parent));
        Self::new(tracer, name.into(), kind, None, &parent)
    }

    fn new(
        tracer: &SdkTracer,
        name: Cow<'static, str>,
        kind: Kind,
        start: Option<SystemTime>,
        parent: &Context,
    ) -> Self {
        let mut builder = tracer.span_builder(name).with_kind(kind.into());
        builder.start_time = start;
        let span = tracer.build_with_context(builder, parent);
        Self(span.is_recording().then(|| Box::new(span)))
    }

    /// What its children need to know of it.
    pub fn parent(&self) -> Parent {
        Parent(self.0.as_ref().map(|span| Arc::new(span.span_context().clone())))
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.update_name(name());
        }
    }

    /// Adds an attribute.
    pub fn set<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value()));
        }
    }

    /// Marks it as failed.
    pub fn fail(&mut self, why: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why()));
        }
    }
}

impl Parent {
    /// Begins a child.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.child_since(name, kind, None)
    }

    /// Begins a child, which began earlier.
    pub fn child_since(&self, name: &'static str, kind: Kind, start: Option<SystemTime>) -> Span {
        let (Some(parent), Some(tracer)) = (&self.0, TRACER.get()) else { return Span::default() };
        let parent = Context::default().with_remote_span_context(SpanContext::clone(parent));
        Span::new(tracer, name.into(), kind, start, &parent)
    }

    /// The span as a `traceparent` (W3C Trace Context, level 1, section 3.2). None if it is not sampled.
    pub fn header(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        Some(format!("00-{}-{}-01", context.trace_id(), context.span_id()))
    }

    /// Whether there is a span.
    pub fn is_sampled(&self) -> bool {
        self.0.is_some()
    }

    /// The id of its trace, in hexadecimal. None if it is not sampled.
    pub fn trace_id(&self) -> Option<String> {
        Some(self.0.as_ref()?.trace_id().to_string())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Span").field(&self.parent()).finish()
    }
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Internal => Self::Internal,
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
        }
    }
}

/// The span that a valid `traceparent` names.
fn remote(header: &str) -> Option<SpanContext> {
    let trace = TraceId::from_hex(header.get(3..35)?).ok()?;
    let span = SpanId::from_hex(header.get(36..52)?).ok()?;
    let flags = u8::from_str_radix(header.get(53..55)?, 16).ok()?;
    Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::NONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_names_trace_span_and_whether_it_is_sampled() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = remote(header).unwrap();
        assert!(parent.is_remote() && parent.is_sampled());
        assert_eq!(Parent(Some(Arc::new(parent))).header().as_deref(), Some(header));
        assert!(!remote(&header.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn without_a_tracer_nothing_is_sampled_and_no_closure_runs() {
        let mut span = Span::begin("request", Kind::Server, None);
        span.rename(|| unreachable!());
        span.set("key", || -> String { unreachable!() });
        span.fail(|| unreachable!());
        let child = span.parent().child("gate", Kind::Internal);
        assert!(child.0.is_none() && span.parent().header().is_none() && span.parent().trace_id().is_none());
    }
}
