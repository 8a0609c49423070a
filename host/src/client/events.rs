//! The events of a running host: its overview whenever it changes (`GET /events`).

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use serde_json::Value;

use super::answer::{data, for_terminal};
use super::connection::Connection;

/// The largest event, in bytes. Reached only if the program on the other side is no host.
const EVENT_BYTES: usize = 64 << 20;

/// What ends the events.
const ENDED: &str = "the host closed the connection: it has stopped, or is starting again";

/// The events, as they come.
pub(super) struct Events {
    body: Incoming,
    received: Vec<u8>,
    /// Ends the events when it is dropped.
    _connection: Connection,
}

impl Events {
    /// Asks for the events.
    ///
    /// # Errors
    /// The host refuses, because too many listen already.
    pub(super) async fn begin(mut connection: Connection, request: Request<Full<Bytes>>) -> anyhow::Result<Self> {
        let response = connection.begin(request).await?;
        if !response.status().is_success() {
            let body = response.into_body().collect().await.context(ENDED)?.to_bytes();
            data(&serde_json::from_slice(&body).unwrap_or_default())?;
            bail!("the host sends no events");
        }
        Ok(Self { body: response.into_body(), received: Vec::new(), _connection: connection })
    }

    /// The next overview. May be cancelled and called again.
    ///
    /// # Errors
    /// The host has stopped.
    pub(super) async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.received.drain(..end + 2).collect();
                if let Some(overview) = overview(&event) {
                    return Ok(overview);
                }
                continue;
            }
            ensure!(self.received.len() < EVENT_BYTES, "an event has more than {EVENT_BYTES} bytes");
            let frame = self.body.frame().await.context(ENDED)?.context(ENDED)?;
            self.received.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    }
}

/// The data of an event. None for a comment.
fn overview(event: &[u8]) -> Option<Value> {
    let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "))?;
    Some(for_terminal(&serde_json::from_slice(data).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_no_overview_and_no_text_controls_the_terminal() {
        assert_eq!(overview(b":\n\n"), None);
        let event = b"event: overview\ndata: {\"version\":\"a\\u001b[2J\"}\n\n";
        assert_eq!(overview(event).expect("it is an overview")["version"], r"a\u{1b}[2J");
    }
}
