//! The `[limits]` tables of the manifest.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};
use toml::Value;

/// The limits of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body in bytes.
    pub body_bytes: usize,
    /// The largest response body in bytes.
    pub response_bytes: u64,
    /// The time from the admission of a request to the head of its response, and to the last byte of a response with plain records.
    /// The time in which a guest waits for the client's body does not count.
    pub time: Duration,
    /// How long no byte of a stream may pass in either direction.
    pub idle_time: Duration,
    /// How long a stream may last. None: as long as bytes pass.
    pub stream_time: Option<Duration>,
    /// How long a stream may last after another revision became active.
    pub drain_time: Duration,
    /// The time for which an instance may compute. Waiting does not count. A stream has as much again for each further minute.
    pub cpu: Duration,
    /// The size of all linear memories of an instance together, in bytes.
    /// At most 4 GiB.
    pub memory_bytes: usize,
    /// How many instances of the service exist at the same time, without those of streams.
    pub concurrency: usize,
    /// How many streams of the service run at the same time. Each has an instance of its own.
    pub streams: usize,
    /// How long a request may wait for an instance before it is refused with 503.
    pub queue_time: Duration,
    /// How much of a request's output (stdout and stderr) is logged, in bytes.
    pub log_bytes: usize,
    /// How long one SQL statement may run.
    pub statement_time: Duration,
    /// How long one transaction may hold the writer.
    pub transaction_time: Duration,
    /// The largest size of the service's database file in bytes.
    pub database_bytes: u64,
    /// The size of the service's response cache in bytes. 0 turns it off.
    pub answers_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            response_bytes: 64 << 20,
            time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            stream_time: None,
            drain_time: Duration::from_secs(60),
            cpu: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            concurrency: 128,
            streams: 128,
            queue_time: Duration::from_secs(1),
            log_bytes: 16 << 10,
            statement_time: Duration::from_secs(1),
            transaction_time: Duration::from_secs(1),
            database_bytes: 4 << 30,
            answers_bytes: 16 << 20,
        }
    }
}

/// A `[limits]` table. A missing key has the value of the level above.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    #[serde(deserialize_with = "some_size")]
    body: Option<ByteSize>,
    #[serde(deserialize_with = "some_size")]
    response: Option<ByteSize>,
    #[serde(deserialize_with = "some_duration")]
    time: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    idle_time: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    stream_time: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    drain_time: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    cpu: Option<Duration>,
    #[serde(deserialize_with = "memory")]
    memory: Option<ByteSize>,
    #[serde(deserialize_with = "at_least_one")]
    concurrency: Option<usize>,
    #[serde(deserialize_with = "at_least_one")]
    streams: Option<usize>,
    #[serde(deserialize_with = "some_duration")]
    queue_time: Option<Duration>,
    #[serde(deserialize_with = "some_size")]
    log: Option<ByteSize>,
    #[serde(deserialize_with = "some_duration")]
    statement_time: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    transaction_time: Option<Duration>,
    #[serde(deserialize_with = "some_size")]
    database: Option<ByteSize>,
    #[serde(deserialize_with = "answers")]
    answers: Option<ByteSize>,
}

impl LimitsTable {
    /// These limits, with the missing ones taken from `base`.
    pub fn over(&self, base: Limits) -> Limits {
        let bytes = |size: Option<ByteSize>, base: u64| size.map_or(base, |size| size.as_u64());
        let count = |size: Option<ByteSize>, base: usize| {
            size.map_or(base, |size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
        };
        Limits {
            body_bytes: count(self.body, base.body_bytes),
            response_bytes: bytes(self.response, base.response_bytes),
            time: self.time.unwrap_or(base.time),
            idle_time: self.idle_time.unwrap_or(base.idle_time),
            stream_time: self.stream_time.or(base.stream_time),
            drain_time: self.drain_time.unwrap_or(base.drain_time),
            cpu: self.cpu.unwrap_or(base.cpu),
            memory_bytes: count(self.memory, base.memory_bytes),
            concurrency: self.concurrency.unwrap_or(base.concurrency),
            streams: self.streams.unwrap_or(base.streams),
            queue_time: self.queue_time.unwrap_or(base.queue_time),
            log_bytes: count(self.log, base.log_bytes),
            statement_time: self.statement_time.unwrap_or(base.statement_time),
            transaction_time: self.transaction_time.unwrap_or(base.transaction_time),
            database_bytes: bytes(self.database, base.database_bytes),
            answers_bytes: bytes(self.answers, base.answers_bytes),
        }
    }
}

/// The longest limit on time.
/// With this limit, adding one to the clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The highest allowed `concurrency`, and the highest allowed `streams`.
const MOST_INSTANCES: usize = 10_000;

/// Reads a duration such as `"10s"` or `"250ms"`.
/// It must be more than zero and at most a day.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let written = Value::deserialize(deserializer)?;
    match written.as_str().map(humantime::parse_duration) {
        Some(Ok(duration)) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
        _ => Err(serde::de::Error::custom(format!(
            "{written} is not a duration: write one such as \"10s\" or \"250ms\", at most a day"
        ))),
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Reads a size such as `"64 KiB"`, or a number of bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let written = Value::deserialize(deserializer)?;
    as_size(&written).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{written} is not a size: write one such as \"64 KiB\", \"1 MiB\" or \"4 GiB\""
        ))
    })
}

fn as_size(written: &Value) -> Option<ByteSize> {
    match written {
        Value::String(text) => text.parse().ok(),
        Value::Integer(bytes) => u64::try_from(*bytes).ok().map(ByteSize::b),
        _ => None,
    }
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    size(deserializer).map(Some)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let size = size(deserializer)?;
    if (ByteSize::kib(64)..=ByteSize::gib(4)).contains(&size) {
        return Ok(Some(size));
    }
    Err(serde::de::Error::custom(format!("memory is {size}: write a size from \"64 KiB\" to \"4 GiB\"")))
}

/// The smallest response cache. A smaller one could not hold one usual response.
const SMALLEST_CACHE: ByteSize = ByteSize::kib(64);

/// Reads a size or `"off"`.
fn answers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let written = Value::deserialize(deserializer)?;
    match as_size(&written) {
        _ if written.as_str() == Some("off") => Ok(Some(ByteSize::b(0))),
        Some(size) if size >= SMALLEST_CACHE => Ok(Some(size)),
        _ => Err(serde::de::Error::custom(format!(
            "answers is {written}: write \"off\", or a size such as \"16 MiB\", at least {SMALLEST_CACHE}"
        ))),
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    count(deserializer).map(Some)
}

/// Reads the `concurrency` of a service, or of its requests to remote hosts.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        number @ 1..=MOST_INSTANCES => Ok(number),
        _ => Err(serde::de::Error::custom(format!("concurrency and streams must be from 1 to {MOST_INSTANCES}"))),
    }
}
