//! Sends the spans of sampled requests and deploys to a collector (OTLP, protobuf over HTTP).
//!
//! Only the standard variables `OTEL_*` configure it (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
//! The SDK reads those about sampling, batches, limits and the resource, and the exporter those about the collector. This module decides
//! whether traces are wanted at all, and brings the HTTP client that the host has already.
//!
//! Spans wait in a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`) for the thread that sends them. If it is full, further ones are dropped. So
//! no request waits for the collector.

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

use crate::outbound::{client_config, without_roots};
use crate::telemetry::set_tracer;
use crate::version::Versions;

/// How long a stopping host waits for the last spans.
const STOP_TIME: Duration = Duration::from_secs(2);

/// How long the collector may take for one batch, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a collector's answer.
const ANSWER_BYTES: usize = 64 << 10;

/// Sends spans until the host stops.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to trace. None if the environment does not ask for it, or asks for something that this host cannot do, which the log says.
    ///
    /// `runtime` sends the requests to the collector.
    pub fn start(runtime: &Handle) -> Option<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        match wanted(variable) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(why) => {
                tracing::warn!("traces: {why}. The host serves without traces");
                return None;
            }
        }
        match provider(runtime, variable) {
            Ok(provider) => {
                set_tracer(provider.tracer("comptoir"));
                Some(Self(provider))
            }
            Err(error) => {
                tracing::warn!("traces: cannot send spans: {error:#}. The host serves without traces");
                None
            }
        }
    }

    /// Sends the last spans, for up to two seconds. Blocks: call it outside of the runtime's tasks, before the runtime ends.
    pub fn stop(self) {
        // It fails if the collector does not answer. The log has said so already.
        let _ = self.0.shutdown_with_timeout(STOP_TIME);
    }
}

/// Whether the environment asks for traces.
///
/// # Errors
/// It asks for an exporter or a protocol that this host does not have.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None if endpoints.iter().all(|name| variable(name).is_none()) => return Ok(false),
        None | Some("otlp") => {}
        Some("none") => return Ok(false),
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER is {other}, but this host has only otlp and none")),
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        match variable(name).as_deref() {
            None => {}
            Some("http/protobuf") => return Ok(true),
            Some(other) => {
                return Err(format!(
                    "{name} is {other}, but this host speaks only http/protobuf: set it to that, and the endpoint to the \
                     collector's port for HTTP, such as http://127.0.0.1:4318"
                ));
            }
        }
    }
    Ok(true)
}

fn provider(runtime: &Handle, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<SdkTracerProvider> {
    let own = |name: &str, general: &str| variable(name).or_else(|| variable(general));
    let authority = own("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE").map(PathBuf::from);
    let timeout = own("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
    let timeout = timeout.and_then(|text| text.parse().ok()).map_or(TIMEOUT, Duration::from_millis);
    let endpoint = own("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
    // A collector without TLS needs no root certificates.
    let is_https = endpoint.is_some_and(|endpoint| endpoint.starts_with("https:"));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(if is_https { client_config(authority.as_deref())? } else { without_roots()? })
        .https_or_http()
        .enable_http1()
        .build();
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let collector = Collector { client, runtime: runtime.clone(), timeout, is_lost: AtomicBool::new(false) };
    let exporter = SpanExporter::builder().with_http().with_http_client(collector).build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(variable)).build())
}

/// What this process is called. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
fn resource(variable: impl Fn(&str) -> Option<String>) -> Resource {
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let has = |key: &str| attributes.split(',').any(|pair| pair.split('=').next().map(str::trim) == Some(key));
    let is_named = variable("OTEL_SERVICE_NAME").is_some() || has("service.name");
    let version = Versions::of_this_program().comptoir;
    let defaults = [(is_named, "service.name", "comptoir"), (has("service.version"), "service.version", version)];
    let missing = defaults.into_iter().filter(|(is_given, ..)| !is_given);
    Resource::builder().with_attributes(missing.map(|(_, name, value)| KeyValue::new(name, value))).build()
}

/// The HTTP client of the exporter. Says once when the collector is lost, and once when it is back.
#[derive(Debug)]
struct Collector {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    timeout: Duration,
    is_lost: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    /// The exporter's own thread waits for this, so the request runs on the host's runtime.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        // Without userinfo, which may be a credential.
        let to = request.uri().authority().map_or("", |authority| authority.as_str());
        let to = to.rsplit('@').next().unwrap_or_default().to_owned();
        let send = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let sent = self.runtime.spawn(async move { tokio::time::timeout(timeout, send).await }).await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(format!("it did not answer within {timeout:?}").into()),
            Err(stopped) => Err(stopped.into()),
        };
        let trouble = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(causes(&**error)),
        };
        let was_lost = self.is_lost.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(trouble) if !was_lost => {
                tracing::warn!(
                    "traces: the collector at {to} takes no spans: {trouble}. Spans are dropped until it does"
                );
            }
            None if was_lost => tracing::info!("traces: the collector at {to} takes spans again"),
            _ => {}
        }
        answer
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(variables: &[(&str, &str)]) -> Result<bool, String> {
        wanted(|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_need_an_exporter_or_an_endpoint() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(asks(&[]), Ok(false));
        assert_eq!(asks(&[("OTEL_SERVICE_NAME", "shop"), ("OTEL_TRACES_SAMPLER", "always_on")]), Ok(false));
        assert_eq!(asks(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(asks(&[endpoint]), Ok(true));
        assert_eq!(asks(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(asks(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        assert_eq!(asks(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), Ok(true));
    }

    #[test]
    fn what_the_host_cannot_do_is_refused_with_the_next_step() {
        let exporter = asks(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert_eq!(exporter, "OTEL_TRACES_EXPORTER is zipkin, but this host has only otlp and none");
        let grpc = [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert!(asks(&grpc).unwrap_err().contains("speaks only http/protobuf: set it to that"));
    }
}
