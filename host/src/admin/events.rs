//! `GET /events`: server-sent events for the console, one connection for each open page.
//!
//! One task computes each event once for all connections, and only while somebody listens. A slow reader gets the newest event, not all
//! of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{Notify, watch};

use super::{Admin, Operator};
use crate::body::{Body, BodyError};
use crate::error::AdminError;

/// The most connections. Each costs one of the admin listener's.
const CONSOLES: usize = 128;

/// The time between two looks at the host.
const LOOK: Duration = Duration::from_secs(2);

/// The shortest time between two events, when a deploy takes many steps.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a connection without events gets a comment, and its session is checked.
const COMMENT: Duration = Duration::from_secs(5);

/// The newest event. None while nobody listens.
type Newest = Option<Bytes>;

/// The events, and those who listen.
pub(super) struct Events {
    newest: watch::Receiver<Newest>,
    /// Held by the task that publishes. The connections end when it does.
    publisher: Mutex<Option<watch::Sender<Newest>>>,
    listening: Arc<Listening>,
}

#[derive(Default)]
struct Listening {
    count: AtomicUsize,
    somebody: Notify,
}

/// One of those who listen.
struct Listener(Arc<Listening>);

impl Default for Events {
    fn default() -> Self {
        let (publisher, newest) = watch::channel(None);
        Self { newest, publisher: Mutex::new(Some(publisher)), listening: Arc::default() }
    }
}

impl Listening {
    /// None if as many listen as may.
    fn join(self: &Arc<Self>) -> Option<Listener> {
        let join = |count| (count < CONSOLES).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, join).ok()?;
        self.somebody.notify_one();
        Some(Listener(self.clone()))
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admin {
    /// Publishes events while somebody listens. Never ends, and must run only once.
    pub async fn publish_forever(self: Arc<Self>) {
        let publisher = self.events.publisher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(publisher) = publisher else { return };
        let (listening, mut changes) = (&self.events.listening, self.deployer.changes());
        loop {
            if listening.is_empty() {
                publisher.send_replace(None);
                listening.somebody.notified().await;
            }
            changes.mark_unchanged();
            let event = Bytes::from(format!("event: overview\ndata: {}\n\n", self.overview().await));
            publisher.send_if_modified(|newest| newest.replace(event.clone()) != Some(event));
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = listening.somebody.notified() => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// A response that lasts until the reader goes, its session ends, or the host stops.
    pub(super) fn subscribe(self: &Arc<Self>, operator: Operator) -> Result<Response<Body>, AdminError> {
        let listener = self.events.listening.join().ok_or(AdminError::TooManyConsoles)?;
        let mut newest = self.events.newest.clone();
        newest.mark_changed();
        let admin = self.clone();
        let events = stream::unfold((newest, listener), move |(mut newest, listener)| {
            let (admin, operator) = (admin.clone(), operator);
            async move {
                let event = next(&mut newest, || admin.is_still(operator)).await?;
                Some((Ok::<_, BodyError>(Frame::data(event)), (newest, listener)))
            }
        });
        let mut response = Response::new(StreamBody::new(events).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

/// The next event or comment. None if the host stops or the reader may not read any more.
async fn next(newest: &mut watch::Receiver<Newest>, may_read: impl Fn() -> bool) -> Option<Bytes> {
    loop {
        match tokio::time::timeout(COMMENT, newest.changed()).await {
            Ok(Ok(())) => {
                let event = newest.borrow_and_update().clone();
                if !may_read() {
                    return None;
                }
                // None is left from a time when nobody listened.
                if event.is_some() {
                    return event;
                }
            }
            Ok(Err(_)) => return None,
            Err(_) if may_read() => return Some(Bytes::from_static(b":\n\n")),
            Err(_) => return None,
        }
    }
}
