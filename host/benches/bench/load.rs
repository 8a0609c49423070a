//! The load generator: one thread, connections that are kept, requests made before, answers barely looked at.
//!
//! A connection sends its next request when the answer to the last is whole, at once or at its own pace. It never has two
//! under way, so latencies are those of the server and of the line before it.
//!
//! The thread never sleeps. Whoever sends something to a thread that sleeps wakes its processor, which on a virtual machine is an
//! interrupt from outside of it and costs the sender ten microseconds and more. A server that the load waits for would pay
//! that with each answer, and one that the load cannot keep up with never.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cores;
use crate::wire::{Head, Request};

/// How long answers may be late when the time is over. What has not come by then is lost.
const GRACE: Duration = Duration::from_secs(20);

/// Connections that are opened at one moment: fewer than fit any server's queue.
const OPENED_AT_ONCE: usize = 100;

/// Turns of tasks after which the runtime asks the system for answers.
const EVENT_INTERVAL: u32 = 8;

/// Some connections that all ask the same.
#[derive(Clone)]
pub struct Load {
    /// Who is asked.
    pub server: SocketAddr,
    /// What.
    pub request: Request,
    /// By how many at once.
    pub connections: usize,
    /// How long each leaves between two requests; none: at once after the answer.
    pub pace: Option<Duration>,
}

/// What came of a load.
#[derive(Default)]
pub struct Outcome {
    /// Microseconds from sending to the whole answer, of answers with 2xx, shortest first.
    pub latencies: Vec<u32>,
    /// Answers with 503.
    pub refused: u64,
    /// Microseconds to the slowest answer with 503.
    pub slowest_refusal: u32,
    /// Answers with any other status.
    pub failed: u64,
    /// Status and text of the first of those.
    pub first_failure: Option<(u16, String)>,
    /// Connections that broke, or could not be made.
    pub resets: u64,
    /// Requests without an answer at the very end.
    pub lost: u64,
    /// From the first request to the last answer: what is under way when the time is over still counts.
    pub seconds: f64,
    ended: Option<Instant>,
}

impl Outcome {
    /// Good answers a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// The latency that so many thousandths of the good answers were within, in microseconds.
    pub fn within(&self, thousandths: usize) -> f64 {
        let place = (self.latencies.len() * thousandths / 1000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).map_or(f64::NAN, |microseconds| f64::from(*microseconds))
    }

    /// Every answer of any kind.
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

/// Puts one load on a server for some time, after its connections are made.
pub fn run(load: Load, time: Duration) -> anyhow::Result<Outcome> {
    let [outcome] = run_beside([load], time)?;
    Ok(outcome)
}

/// The same for several loads at the same time.
pub fn run_beside<const N: usize>(loads: [Load; N], time: Duration) -> anyhow::Result<[Outcome; N]> {
    let work = move || {
        cores::pin_load();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
        // There is always this to do, so that the runtime looks for answers without waiting for them.
        runtime.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        runtime.block_on(put(loads, time))
    };
    std::thread::spawn(work).join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load generator panicked")))
}

async fn put<const N: usize>(loads: [Load; N], time: Duration) -> anyhow::Result<[Outcome; N]> {
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
            // The receiver stays until the grace is over, and then nobody asks any more.
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

/// One connection.
struct Client {
    load: Load,
    /// None after it broke, or the server closed it: then the next request begins with another.
    stream: Option<TcpStream>,
    /// When the next request is due, where there is a pace.
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

    /// Waits until the next request is due. One whose answer was late leaves at once, and those after it keep their distance.
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

    /// Sends the request and reads the answer into the buffer. Keeps the connection if that went well and the server keeps it.
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
