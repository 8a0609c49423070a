//! What the operator sees: the log, and the numbers at `/metrics`.
//!
//! One line a request, at the edge. Messages read alone, fields are for queries; no token, password or body is in either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Below the level `info`, these crates write out the arguments and results of host calls, and the parameters of statements:
/// tokens, passwords and keys among them.
const TELLTALES: [&str; 3] = ["wasmtime", "wit-bindgen", "tokio_postgres"];

fn tells_secrets(what: &Metadata<'_>) -> bool {
    *what.level() > Level::INFO && TELLTALES.iter().any(|telltale| what.target().starts_with(telltale))
}

/// Starts the log on stderr. `filter` is a level such as `info`, or directives as tracing-subscriber reads them; whatever it
/// says, what would tell a secret stays out.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let discreet = filter_fn(|what| !tells_secrets(what));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(discreet)).with(filter).try_init()?;
    Ok(())
}

/// A label value that is shared, not copied, when a request is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shared(pub Arc<str>);

impl EncodeLabelValue for Shared {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

/// What requests are counted by. Patterns and revisions are few; paths and users are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    /// The service, or `-` where the host itself answered.
    pub service: Shared,
    /// The route's pattern, or `-`.
    pub route: Shared,
    /// The first twelve digits of the revision, or `-`.
    pub revision: Shared,
    /// The HTTP status.
    pub status: u16,
}

/// Upper bounds of the latency histogram, in seconds: from 50 µs to 10 s.
const BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The numbers that are counted as things happen. Those that can be read when somebody asks are
/// read then.
pub struct Metrics {
    requests: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    /// Connections that were accepted, on all listeners.
    pub connections: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            connections: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn request(&self, labels: &Labels, duration: Duration) {
        self.requests.get_or_create(labels).inc();
        self.latency.get_or_create(labels).observe(duration.as_secs_f64());
    }

    /// Adds these numbers to a page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("comptoir_requests", "Answered requests", self.requests.clone());
        registry.register(
            "comptoir_request_duration_seconds",
            "From the request's head to the answer's",
            self.latency.clone(),
        );
        let connections = Counter::<u64>::default();
        connections.inc_by(self.connections.load(Ordering::Relaxed));
        registry.register("comptoir_connections", "Accepted connections", connections);
    }
}
