//! The load generator: one thread, persistent connections, prepared requests, minimal parsing of answers.
//!
//! A connection sends its next request when the last answer is complete, immediately or at a given pace. It never has two
//! requests in flight.
//!
//! The thread never sleeps. Sending to a sleeping thread wakes its processor; on a virtual machine that costs the sender ten
//! microseconds or more. A server faster than the load would pay this for each answer, a slower one never, so they could not
//! be compared.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cores;
use crate::wire::{Head, Request};

/// How long to wait for late answers at the end. Answers after that are lost.
const GRACE: Duration = Duration::from_secs(20);

/// Connections opened at once: fewer than any server's accept queue holds.
const OPENED_AT_ONCE: usize = 100;

/// Task polls after which the runtime checks the sockets.
const EVENT_INTERVAL: u32 = 8;

/// Connections that all send the same request.
#[derive(Clone)]
pub struct Load {
    /// The server's address.
    pub server: SocketAddr,
    /// The request of every connection.
    pub request: Request,
    /// The number of connections.
    pub connections: usize,
    /// The time from one request of a connection to its next. None: send it right after the answer.
    pub pace: Option<Duration>,
}

/// The result of a load.
#[derive(Default)]
pub struct Outcome {
    /// Latencies of the 2xx answers in microseconds, sorted.
    pub latencies: Vec<u32>,
    /// Answers with 503.
    pub refused: u64,
    /// The highest latency of a 503 answer, in microseconds.
    pub slowest_refusal: u32,
    /// Answers with any other status.
    pub failed: u64,
    /// Status and text of the first of these answers.
    pub first_failure: Option<(u16, String)>,
    /// Connections that broke or failed to open.
    pub resets: u64,
    /// Requests still unanswered at the end.
    pub lost: u64,
    /// The time from the first request to the last answer. Requests in flight at the end still count.
    pub seconds: f64,
    ended: Option<Instant>,
}

impl Outcome {
    /// 2xx answers per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// A quantile of the latencies in microseconds: 990 thousandths is the 99th percentile.
    pub fn within(&self, thousandths: usize) -> f64 {
        let place = (self.latencies.len() * thousandths / 1000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).map_or(f64::NAN, |microseconds| f64::from(*microseconds))
    }

    /// The number of answers with any status.
    pub fn answers(&self) -> u64 {
        self.latencies.len() as u64 + self.refused + self.failed
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.resets += other.resets;
        self.ended = self.ended.max(other.ended);
    }
}

/// Opens the connections, then runs one load for this time.
pub fn run(load: Load, time: Duration) -> anyhow::Result<Outcome> {
    let [outcome] = run_beside([load], time)?;
    Ok(outcome)
}

/// Runs several loads at the same time.
pub fn run_beside<const N: usize>(loads: [Load; N], time: Duration) -> anyhow::Result<[Outcome; N]> {
    let work = move || {
        cores::pin_load();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
        // This task never ends, so the runtime polls the sockets and never sleeps.
        runtime.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        runtime.block_on(drive(loads, time))
    };
    std::thread::spawn(work).join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load generator panicked")))
}

async fn drive<const N: usize>(loads: [Load; N], time: Duration) -> anyhow::Result<[Outcome; N]> {
    let mut open = Vec::new();
    for load in &loads {
        open.push(connect(load).await?);
    }
    let began = Instant::now();
    let until = began + time;
    let mut running = Vec::new();
    for (load, streams) in loads.iter().zip(open) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let share = load.pace.unwrap_or_default() / u32::try_from(load.connections.max(1)).unwrap_or(u32::MAX);
        for (number, stream) in (0..).zip(streams) {
            let client = Client { load: load.clone(), stream: Some(stream), next: began + share * number };
            let sender = sender.clone();
            // The receiver is dropped after the grace period. Then nobody needs the outcome.
            tokio::spawn(async move { drop(sender.send(client.run(until).await)) });
        }
        running.push((load.connections, receiver));
    }
    let mut outcomes = std::array::from_fn(|_| Outcome::default());
    for ((connections, mut receiver), outcome) in running.into_iter().zip(&mut outcomes) {
        let all = async {
            let mut ended = 0;
            while let Some(part) = receiver.recv().await {
                outcome.add(part);
                ended += 1;
            }
            ended
        };
        let deadline = tokio::time::Instant::from_std(until + GRACE);
        let mut ended = 0;
        let in_time = tokio::time::timeout_at(deadline, async { ended = all.await }).await;
        outcome.lost = if in_time.is_ok() { (connections - ended) as u64 } else { connections as u64 };
        outcome.latencies.sort_unstable();
        outcome.seconds = (outcome.ended.unwrap_or(until) - began).as_secs_f64();
    }
    Ok(outcomes)
}

async fn connect(load: &Load) -> anyhow::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(load.connections);
    while streams.len() < load.connections {
        let some = OPENED_AT_ONCE.min(load.connections - streams.len());
        let opened = futures::future::try_join_all((0..some).map(|_| TcpStream::connect(load.server))).await;
        streams.extend(opened.with_context(|| format!("connection {} to {}", streams.len(), load.server))?);
    }
    for stream in &streams {
        stream.set_nodelay(true)?;
    }
    Ok(streams)
}

/// A client with one connection.
struct Client {
    load: Load,
    /// None after it broke or the server closed it. The next request then opens another.
    stream: Option<TcpStream>,
    /// When the next request is due, if there is a pace.
    next: Instant,
}

impl Client {
    async fn run(mut self, until: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut answer = vec![0; 16 << 10];
        loop {
            let now = match self.load.pace {
                None => Instant::now(),
                Some(pace) => self.wait_for_turn(pace).await,
            };
            if now >= until {
                return outcome;
            }
            match self.exchange(&mut answer).await {
                Ok((head, length)) => count(&mut outcome, head, &answer[..length], now),
                Err(_) => outcome.resets += 1,
            }
        }
    }

    /// Waits until the next request is due. If the last answer was late, the request is due now, and later ones are delayed.
    async fn wait_for_turn(&mut self, pace: Duration) -> Instant {
        tokio::time::sleep_until(self.next.into()).await;
        let now = Instant::now();
        self.next = (self.next + pace).max(now);
        now
    }

    async fn connection(&mut self) -> std::io::Result<TcpStream> {
        if let Some(kept) = self.stream.take() {
            return Ok(kept);
        }
        let stream = TcpStream::connect(self.load.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends the request and reads the answer into the buffer. Keeps the connection if both succeed and the server keeps it.
    async fn exchange(&mut self, answer: &mut Vec<u8>) -> std::io::Result<(Head, usize)> {
        let mut stream = self.connection().await?;
        stream.write_all(&self.load.request.0).await?;
        let (mut length, mut head) = (0, None);
        loop {
            if length == answer.len() {
                answer.resize(length * 2, 0);
            }
            match stream.read(&mut answer[length..]).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => length += more,
            }
            head = head.or_else(|| Head::read(&answer[..length]));
            if let Some(head) = head.filter(|head| head.is_whole(&answer[..length])) {
                self.stream = head.keeps.then_some(stream);
                return Ok((head, length));
            }
        }
    }
}

fn count(outcome: &mut Outcome, head: Head, answer: &[u8], sent: Instant) {
    let now = Instant::now();
    let took = u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX);
    outcome.ended = Some(now);
    match head.status {
        200..=299 => outcome.latencies.push(took),
        503 => {
            outcome.refused += 1;
            outcome.slowest_refusal = outcome.slowest_refusal.max(took);
        }
        status => {
            outcome.failed += 1;
            let text = || (status, String::from_utf8_lossy(&answer[head.length..]).into_owned());
            outcome.first_failure.get_or_insert_with(text);
        }
    }
}
