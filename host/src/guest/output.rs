//! A guest's stdout and stderr. Keeps bytes up to a limit, counts the others, and never blocks the guest.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::outbound::RevisionSecrets;
use crate::printable::printable;

/// The output of one instance. Clones share it.
#[derive(Debug, Clone)]
pub struct Output {
    kept: Arc<Mutex<Kept>>,
    limit_bytes: usize,
    /// The secrets that the guest sees and the log must not contain.
    secrets: Option<Arc<RevisionSecrets>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Bytes of the lines that were logged at once. They count against the limit too.
    logged_bytes: usize,
    dropped_bytes: u64,
}

impl Kept {
    fn room(&self, limit_bytes: usize) -> usize {
        limit_bytes.saturating_sub(self.bytes.len() + self.logged_bytes)
    }
}

/// What a line in the log costs beside its text. So a request cannot write any number of empty lines.
const LINE_BYTES: usize = 64;

impl Output {
    /// Keeps at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { kept: Arc::default(), limit_bytes, secrets: None }
    }

    /// The same, but logged without the values of these secrets.
    #[must_use]
    pub fn without(self, secrets: Option<Arc<RevisionSecrets>>) -> Self {
        Self { secrets, ..self }
    }

    /// Discards everything that was written.
    pub fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = kept.room(self.limit_bytes).min(bytes.len());
        kept.bytes.extend_from_slice(&bytes[..room]);
        kept.dropped_bytes += (bytes.len() - room) as u64;
    }

    /// The text of a line that is logged at once, within the same limit. None if there is no room for it.
    ///
    /// Control characters are escaped, and secrets are masked, as in [`to_log`](Self::to_log).
    pub fn line(&self, text: &str) -> Option<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = kept.room(self.limit_bytes);
        if room < LINE_BYTES {
            kept.dropped_bytes += text.len() as u64;
            return None;
        }
        let shown = &text[..text.floor_char_boundary(room - LINE_BYTES)];
        kept.logged_bytes += shown.len() + LINE_BYTES;
        let cut_bytes = text.len() - shown.len();
        kept.dropped_bytes += cut_bytes as u64;
        drop(kept);
        Some(self.shown(shown.as_bytes(), cut_bytes as u64))
    }

    /// A text of the guest on one line, without secrets. `cut_bytes` is how much of it is missing.
    pub(super) fn shown(&self, bytes: &[u8], cut_bytes: u64) -> String {
        let bytes = match &self.secrets {
            Some(secrets) => secrets.masked(bytes, cut_bytes > 0),
            None => Cow::Borrowed(bytes),
        };
        let mut text = printable(String::from_utf8_lossy(&bytes).trim_end()).into_owned();
        if cut_bytes > 0 {
            text.push_str(&format!(" … and {cut_bytes} more bytes"));
        }
        text
    }

    /// Whether the guest has written nothing.
    pub fn is_empty(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.is_empty() && kept.dropped_bytes == 0
    }

    /// The output as one line of text. None if the guest wrote nothing.
    ///
    /// Control characters are escaped, so that a guest cannot forge log lines or control a terminal.
    pub fn to_log(&self) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes.is_empty() && kept.dropped_bytes == 0 {
            return None;
        }
        Some(self.shown(&kept.bytes, kept.dropped_bytes))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn output_becomes_one_line_without_control_characters() {
        let output = Output::new(100);
        output.push(b"first\n{\"fake\":1}\x1b[31m\n");
        assert_eq!(output.to_log().unwrap(), r#"first\n{"fake":1}\u{1b}[31m"#);
    }

    #[test]
    fn output_beyond_the_limit_is_counted_and_not_kept() {
        let output = Output::new(4);
        output.push(b"abcdef");
        output.push(b"gh");
        assert_eq!(output.to_log().unwrap(), "abcd … and 4 more bytes");
        assert_eq!(Output::new(4).to_log(), None);
    }

    #[test]
    fn log_lines_and_output_share_one_limit() {
        let output = Output::new(2 * LINE_BYTES + 8);
        assert_eq!(output.line("ab\ncd").unwrap(), "ab\\ncd");
        output.push(b"x");
        assert_eq!(output.line("é€").unwrap(), "é … and 3 more bytes", "cut between characters");
        assert_eq!(output.line(""), None);
        output.push(b"yz");
        assert_eq!(output.to_log().unwrap(), "x … and 5 more bytes");
        output.clear();
        assert_eq!(output.line("next").unwrap(), "next");
    }
}
