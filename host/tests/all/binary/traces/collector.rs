//! A collector of OpenTelemetry on loopback: takes spans as protobuf over HTTP. It is also a remote host for guests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A span, and the resource that sent it.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) span: Span,
    resource: Vec<KeyValue>,
}

/// All spans that have arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Spans(Vec<Received>);

pub(super) struct Collector {
    address: SocketAddr,
    arriving: mpsc::UnboundedReceiver<Vec<Received>>,
    arrived: Spans,
    elsewhere: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, elsewhere) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (spans, arriving) = mpsc::unbounded_channel();
        let seen = elsewhere.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (spans, seen) = (spans.clone(), seen.clone());
                let service = service_fn(move |request| take(request, spans.clone(), seen.clone()));
                tokio::spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Self { address, arriving, arrived: Spans::default(), elsewhere }
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `traceparent` of each request that was no export.
    pub(super) fn elsewhere(&self) -> Vec<String> {
        self.elsewhere.lock().unwrap().clone()
    }

    /// Waits until the spans that have arrived match. Returns them, and forgets them.
    pub(super) async fn until(&mut self, like: impl Fn(&Spans) -> bool) -> Spans {
        while !like(&self.arrived) {
            let more = self.arriving.recv().await.expect("the collector runs");
            self.arrived.0.extend(more);
        }
        // Children end before their parents, so they have been sent already. They may be in a later batch if it was cut by its size.
        std::mem::take(&mut self.arrived)
    }

    /// The spans that have arrived until now.
    pub(super) fn now(&mut self) -> Spans {
        while let Ok(more) = self.arriving.try_recv() {
            self.arrived.0.extend(more);
        }
        self.arrived.clone()
    }
}

async fn take(
    request: Request<Incoming>,
    spans: mpsc::UnboundedSender<Vec<Received>>,
    elsewhere: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/v1/traces" {
        let sent = request.headers().get("traceparent").map(|sent| sent.to_str().unwrap().to_owned());
        elsewhere.lock().unwrap().push(sent.unwrap_or_default());
        return Ok(Response::new(Full::default()));
    }
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    let received = export.resource_spans.into_iter().flat_map(|of| {
        let resource = of.resource.unwrap_or_default().attributes;
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Received { span, resource: resource.clone() })
    });
    let _ = spans.send(received.collect());
    Ok(Response::new(Full::default()))
}

impl Spans {
    pub(super) fn all(&self) -> &[Received] {
        &self.0
    }

    pub(super) fn named(&self, name: &str) -> Option<Received> {
        self.0.iter().find(|received| received.span.name == name).cloned()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|received| received.span.name == name).count()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|received| received.span.name.as_str()).collect()
    }

    /// The values of an attribute of the senders, each once.
    pub(super) fn resource(&self, name: &str) -> Vec<String> {
        let mut values: Vec<String> = self.0.iter().map(|received| text(&received.resource, name)).collect();
        values.dedup();
        values
    }
}

impl Received {
    pub(super) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(super) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The id of the parent. Empty if there is none.
    pub(super) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(super) fn text(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        match value(&self.span.attributes, name) {
            Some(Value::IntValue(number)) => *number,
            other => panic!("{name} is {other:?}"),
        }
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    match value(attributes, name) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

fn value<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    let Some(AnyValue { value: Some(value) }) = &found.value else { return None };
    Some(value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
