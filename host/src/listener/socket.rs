//! The socket of a connection. It reports progress, and its close does not destroy the last response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::activity::Activity;

/// The most bytes that a client may still send after a response that did not wait for the request's body.
const LINGER_BYTES: usize = 16 << 20;

/// How long the client may take to send them.
const LINGER_TIME: Duration = Duration::from_secs(15);

/// How long the client may pause while it sends them.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// The buffer for bytes that are read and discarded.
const LINGER_BUFFER_BYTES: usize = 8 << 10;

/// A socket that reports its progress. When hyper drops it, the listener gets the `TcpStream` back.
pub(super) struct Observed {
    /// Some until this is dropped.
    stream: Option<TcpStream>,
    back: Option<oneshot::Sender<TcpStream>>,
    activity: Arc<Activity>,
}

impl Observed {
    pub(super) fn new(stream: TcpStream, activity: &Arc<Activity>) -> (Self, oneshot::Receiver<TcpStream>) {
        let (back, comes_back) = oneshot::channel();
        (Self { stream: Some(stream), back: Some(back), activity: activity.clone() }, comes_back)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.activity.sent(true),
            Poll::Ready(Ok(1..)) => self.activity.sent(false),
            Poll::Ready(_) => {}
        }
        written
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // The listener may not wait for it.
            let _ = back.send(stream);
        }
    }
}

/// Closes a connection whose client may still be sending (RFC 9112, section 9.6).
///
/// Closing a socket with unread bytes resets the connection, and the reset can destroy the response on its way. So this closes
/// only the sending half, then reads and discards, within limits, until the client closes too.
pub(super) async fn linger(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        let (mut buffer, mut left) = (vec![0; LINGER_BUFFER_BYTES], LINGER_BYTES);
        while left > 0 {
            match timeout(LINGER_PAUSE, stream.read(&mut buffer)).await {
                Ok(Ok(count @ 1..)) => left = left.saturating_sub(count),
                _ => break,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER_TIME, drained).await;
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream()?.poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(context, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
