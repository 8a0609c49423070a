//! The log on stderr, and the metrics that are counted while the host serves.
//!
//! Each request has one line in the log. A message can be read alone, and its fields are for queries. Neither contains a token, a
//! password or a body.
//!
//! No request waits for the log. Lines wait in a bounded queue for the thread that writes them. If nobody reads stderr, the queue
//! fills up. Further lines are then dropped and counted.

mod exemplars;
mod latency;
mod recent;
mod spans;
mod statements;
mod terminal;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use latency::{DURATION, Latency};
use terminal::ForTerminal;

pub use latency::LatencyCounts;
pub use recent::{Recent, RecentRequest, Wanted};
pub use spans::{Kind, Parent, Span, set_tracer};
pub use statements::{Noted, RecentStatement, Statements};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Crates whose debug lines contain the arguments of host calls and the parameters of SQL statements. These can be tokens,
/// passwords and keys, so only their lines of level `info` and above are logged.
const SECRET_LOGGERS: [&str; 3] = ["wasmtime", "wit-bindgen", "tokio_postgres"];

fn may_contain_secrets(line: &Metadata<'_>) -> bool {
    *line.level() > Level::INFO && SECRET_LOGGERS.iter().any(|name| line.target().starts_with(name))
}

/// What the exporter of traces says about each batch that it cannot send. `traces` says it once.
fn is_about_a_batch(line: &Metadata<'_>) -> bool {
    line.target().starts_with("opentelemetry") && line.name().ends_with("Error")
}

/// wasmtime's warning at each reset of an instance slot whose page scan fails. `engine::page_scan` already reports that once.
fn is_pagemap_warning(line: &Metadata<'_>) -> bool {
    line.target().starts_with("wasmtime") && line.target().ends_with("::pagemap")
}

/// The word in a filter that shows a line for each request on a terminal, too.
const REQUESTS: &str = "requests";

/// The modules that log one line for each request.
const REQUEST_LOGGERS: [&str; 2] = ["comptoir::gateway::access_log", "comptoir::admin"];

/// The line of a request that did not fail.
fn is_request(line: &Metadata<'_>) -> bool {
    *line.level() == Level::INFO && REQUEST_LOGGERS.contains(&line.target())
}

/// The most lines in the queue. A line has about 300 bytes, or more if a guest printed something.
const QUEUED_LINES: usize = 4096;

/// How long the program waits at its end for the queued lines.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// The pause between two reports of dropped lines.
const REPORT_TIME: Duration = Duration::from_secs(1);

/// The log on stderr. Dropping it waits up to two seconds for the queued lines.
pub struct Log {
    lines: NonBlocking,
    guard: Option<WorkerGuard>,
    colours: bool,
}

impl Log {
    /// Starts the log, which also reports panics.
    ///
    /// `filter` is a level such as `info`, or directives of tracing-subscriber. The default is `info`. On a terminal it has no line for
    /// requests that succeed, because they would hide everything else. `requests` means `info` with these lines. No filter shows lines
    /// that may contain secrets.
    ///
    /// # Errors
    /// If the filter is invalid, or a log was started before.
    pub fn start(format: LogFormat, filter: Option<&str>) -> anyhow::Result<Self> {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let colours = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        let hides_requests = is_terminal && filter.is_none();
        let filter = filter.unwrap_or(REQUESTS).split(',').map(|word| if word == REQUESTS { "info" } else { word });
        let filter = EnvFilter::try_new(filter.collect::<Vec<_>>().join(","))?;
        let is_hidden = move |line: &Metadata<'_>| {
            may_contain_secrets(line)
                || is_pagemap_warning(line)
                || is_about_a_batch(line)
                || (hides_requests && is_request(line))
        };
        let shown = filter_fn(move |line| !is_hidden(line));
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES).thread_name("log");
        let (queued, guard) = queue.finish(std::io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_writer(queued.clone()).with_ansi(colours);
        let lines = match format {
            LogFormat::Text if is_terminal => lines.event_format(ForTerminal { colours }).boxed(),
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        };
        tracing_subscriber::registry().with(lines.with_filter(shown)).with(filter).try_init()?;
        report_panics(queued.clone());
        Ok(Self { lines: queued, guard: Some(guard), colours })
    }

    /// Writes a line for the operator, with any filter.
    pub fn say(&self, text: &str) {
        self.write(Style::new(), text);
    }

    /// Writes an error for the operator, with any filter.
    pub fn complain(&self, text: &str) {
        self.write(AnsiColor::Red.on_default(), text);
    }

    fn write(&self, style: Style, text: &str) {
        let style = if self.colours { style } else { Style::new() };
        // Fails only if the writer thread has ended.
        let _ = self.lines.clone().write_all(format!("{style}comptoir: {text}{style:#}\n").as_bytes());
    }

    /// Counts the lines that were dropped.
    pub fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(self.lines.error_counter())
    }
}

impl Drop for Log {
    /// Flushes on another thread, because the guard would wait forever if nobody reads stderr.
    fn drop(&mut self) {
        let guard = self.guard.take();
        let (flushed, done) = std::sync::mpsc::channel();
        let flush = move || {
            drop(guard);
            let _ = flushed.send(());
        };
        if std::thread::Builder::new().name("log-flush".to_owned()).spawn(flush).is_ok() {
            let _ = done.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Sends panic messages through the queue. The standard hook writes to stderr directly and blocks if nobody reads it.
fn report_panics(lines: NonBlocking) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let mut text = format!("comptoir: the thread `{}` {panic}\n", thread.name().unwrap_or("unnamed"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{backtrace}\n"));
        }
        let _ = lines.clone().write_all(text.as_bytes());
    }));
}

/// The number of log lines that were dropped because nobody read stderr.
#[derive(Debug, Clone)]
pub struct DroppedLines(ErrorCounter);

impl DroppedLines {
    /// The number since the program started.
    pub fn count(&self) -> u64 {
        self.0.dropped_lines() as u64
    }

    /// Logs the count whenever it has grown, at most once a second.
    pub async fn report_forever(self) {
        let mut reported = 0;
        loop {
            tokio::time::sleep(REPORT_TIME).await;
            let dropped = self.count();
            if dropped > reported {
                let lines = dropped - reported;
                tracing::warn!(
                    lines,
                    total = dropped,
                    "the log dropped {lines} lines because stderr was not read in time"
                );
                reported = dropped;
            }
        }
    }
}

/// A label value that requests share instead of copying it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shared(pub Arc<str>);

impl EncodeLabelValue for Shared {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

/// The label of a request without a service, route or revision.
pub const NO_LABEL: &str = "-";

/// The labels that requests are counted by. Paths and users are no labels, because there are too many of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    /// The service, or `-` if the host itself answered.
    pub service: Shared,
    /// The pattern of the route, or `-`.
    pub route: Shared,
    /// The first twelve digits of the revision, or `-`.
    pub revision: Shared,
    /// The HTTP status.
    pub status: u16,
}

/// The most series of requests. A component chooses its statuses, so there could be many. Requests over the limit are counted
/// without route and revision.
const SERIES: usize = 10_000;

/// The counts of one set of labels.
#[derive(Debug, Default)]
struct Series {
    requests: Counter,
    latency: Latency,
}

/// The metrics that are counted while the host serves. `admin::metrics` reads all others when it builds the page.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Arc<Requests>,
    /// Accepted connections of all listeners.
    pub connections: AtomicU64,
    /// Reloads of the manifest, without those that only checked it.
    pub reloads: Reloads,
    /// The latest requests, for the console.
    pub recent: Recent,
    /// None if this program has not started a `Log`.
    dropped_lines: Option<DroppedLines>,
}

/// How often the manifest was reloaded, by result.
#[derive(Debug, Default)]
pub struct Reloads(Family<ReloadResult, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadResult {
    result: &'static str,
}

/// Answered requests by their labels.
#[derive(Debug, Default)]
struct Requests {
    series: RwLock<HashMap<Labels, Series>>,
    /// The counts of removed series, by service.
    removed: Mutex<HashMap<Arc<str>, Totals>>,
}

/// All requests of one service since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Answered requests, also those that the host refused.
    pub requests: u64,
    /// Those with a 5xx status.
    pub errors: u64,
    /// Their latencies.
    pub latencies: LatencyCounts,
}

impl Metrics {
    /// Adds the count of dropped log lines.
    pub fn with_dropped_lines(self, dropped_lines: Option<DroppedLines>) -> Self {
        Self { dropped_lines, ..self }
    }

    /// Counts an answered request. `trace_id` is the id of its trace, if it is sampled.
    pub fn request(&self, labels: &Labels, duration: Duration, trace_id: Option<String>) {
        self.requests.count(labels, duration, trace_id);
    }

    /// Removes the series of all revisions but these. Each is named by its first twelve digits.
    pub fn keep_revisions(&self, revisions: &HashSet<String>) {
        let mut series = self.requests.series.write().unwrap_or_else(PoisonError::into_inner);
        let mut removed = self.requests.removed.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|labels, series| {
            let keeps = &*labels.revision.0 == NO_LABEL || revisions.contains(&*labels.revision.0);
            if !keeps {
                removed.entry(labels.service.0.clone()).or_default().add(labels, series);
            }
            keeps
        });
    }

    /// The requests of each service since the host started.
    pub fn totals(&self) -> HashMap<Arc<str>, Totals> {
        let series = self.requests.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut totals = self.requests.removed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (labels, series) in &*series {
            totals.entry(labels.service.0.clone()).or_default().add(labels, series);
        }
        totals
    }

    /// Adds the exemplars to an encoded page: sampled requests with the ids of their traces.
    pub fn add_exemplars(&self, page: String) -> String {
        let series = self.requests.series.read().unwrap_or_else(PoisonError::into_inner);
        let exemplars =
            series.iter().filter_map(|(labels, series)| Some((labels.clone(), series.latency.exemplars()?)));
        exemplars::add(page, &exemplars.collect::<Vec<_>>())
    }

    /// Adds these metrics to a page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.requests.clone()));
        let connections = Counter::<u64>::default();
        connections.inc_by(self.connections.load(Ordering::Relaxed));
        registry.register("comptoir_connections", "Accepted connections", connections);
        let dropped = Counter::<u64>::default();
        dropped.inc_by(self.dropped_lines.as_ref().map_or(0, DroppedLines::count));
        registry.register("comptoir_reloads", "Reloads of the manifest, by result", self.reloads.0.clone());
        registry.register("comptoir_log_dropped_lines", "Log lines dropped because nobody read stderr", dropped);
    }
}

impl Reloads {
    /// Counts one reload.
    pub fn count(&self, is_applied: bool) {
        let result = if is_applied { "applied" } else { "refused" };
        self.0.get_or_create(&ReloadResult { result }).inc();
    }
}

impl Requests {
    fn count(&self, labels: &Labels, duration: Duration, trace_id: Option<String>) {
        if let Some(series) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(labels) {
            return series.count(duration, trace_id);
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let labels = if all.len() < SERIES { labels.clone() } else { labels.without_route_and_revision() };
        all.entry(labels).or_default().count(duration, trace_id);
    }
}

impl Series {
    fn count(&self, duration: Duration, trace_id: Option<String>) {
        self.requests.inc();
        self.latency.count(duration);
        if let Some(trace_id) = trace_id {
            self.latency.add_exemplar(duration, trace_id);
        }
    }
}

impl Totals {
    fn add(&mut self, labels: &Labels, series: &Series) {
        let requests = series.requests.get();
        self.requests += requests;
        self.errors += if labels.status >= 500 { requests } else { 0 };
        self.latencies.add(&series.latency.read());
    }
}

impl Labels {
    fn without_route_and_revision(&self) -> Self {
        let none = || Shared(NO_LABEL.into());
        Self { service: self.service.clone(), route: none(), revision: none(), status: self.status }
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let help = "Answered requests";
        let mut requests = encoder.encode_descriptor("comptoir_requests", help, None, MetricType::Counter)?;
        for (labels, series) in &*all {
            series.requests.encode(requests.encode_family(labels)?)?;
        }
        let help = "Time from a request's head to its response's head";
        let mut latency = encoder.encode_descriptor(DURATION, help, None, MetricType::Histogram)?;
        for (labels, series) in &*all {
            series.latency.encode(latency.encode_family(labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &Metrics) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    }

    fn labels(revision: &str, status: u16) -> Labels {
        let shared = |text: &str| Shared(text.into());
        Labels { service: shared("orders"), route: shared("/orders"), revision: shared(revision), status }
    }

    #[test]
    fn series_of_removed_revisions_go_and_the_hosts_own_stay() {
        let metrics = Metrics::default();
        for revision in ["0123456789ab", "ba9876543210", NO_LABEL] {
            metrics.request(&labels(revision, 200), Duration::from_millis(3), None);
        }
        assert!(page(&metrics).contains(
            "comptoir_requests_total{service=\"orders\",route=\"/orders\",revision=\"ba9876543210\",status=\"200\"} 1"
        ));
        metrics.keep_revisions(&HashSet::from(["0123456789ab".to_owned()]));
        let page = page(&metrics);
        assert!(!page.contains("ba9876543210"), "{page}");
        for revision in ["0123456789ab", NO_LABEL] {
            let count = format!("duration_seconds_count{{service=\"orders\",route=\"/orders\",revision=\"{revision}\"");
            assert!(page.contains(&count), "{page}");
        }
    }

    #[test]
    fn the_bucket_of_a_sampled_request_has_its_trace() {
        let metrics = Metrics::default();
        let trace = || Some("0af7651916cd43dd8448eb211c80319c".to_owned());
        metrics.request(&labels("0123456789ab", 200), Duration::from_millis(3), trace());
        metrics.request(&labels("0123456789ab", 200), Duration::from_millis(700), None);
        metrics.request(&labels("ba9876543210", 200), Duration::from_millis(3), None);
        let page = metrics.add_exemplars(page(&metrics));
        assert!(page.contains("_bucket{le=\"+Inf\","), "OpenMetrics requires this bucket: {page}");
        let with: Vec<&str> = page.lines().filter(|line| line.contains("trace_id")).collect();
        assert_eq!(with.len(), 1, "{page}");
        let expected = "comptoir_request_duration_seconds_bucket{le=\"0.005\",service=\"orders\",route=\"/orders\",\
                        revision=\"0123456789ab\",status=\"200\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.003 ";
        assert!(with[0].starts_with(expected), "{}", with[0]);
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn totals_of_a_service_count_removed_revisions_too() {
        let metrics = Metrics::default();
        for (revision, status) in [("0123456789ab", 200), ("ba9876543210", 503), (NO_LABEL, 401)] {
            metrics.request(&labels(revision, status), Duration::from_millis(3), None);
        }
        let before = metrics.totals();
        assert_eq!((before["orders"].requests, before["orders"].errors), (3, 1));
        metrics.keep_revisions(&HashSet::new());
        assert_eq!(metrics.totals(), before);
    }

    #[test]
    fn series_are_limited_and_every_request_is_counted() {
        let metrics = Metrics::default();
        for number in 0..2 * SERIES {
            metrics.request(&labels(&format!("{number:012}"), 200), Duration::ZERO, None);
        }
        let beyond = labels("", 200).without_route_and_revision();
        let all = metrics.requests.series.read().unwrap();
        assert_eq!((all.len(), all[&beyond].requests.get()), (SERIES + 1, SERIES as u64));
    }
}
