//! `wasi:logging/logging`: log lines of guests, with a level. Every component may import it.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use super::Guest;
use super::bindings::logging::logging::{self as wit, Level};
use crate::printable::excerpt;

/// The one version that the host links, which wasmCloud uses too. Names of prereleases match exactly.
pub(super) const LOGGING: &str = "wasi:logging/logging@0.1.0-draft";

/// Maximum bytes of a context that a log line shows.
const CONTEXT_BYTES: usize = 100;

/// Whose lines the log has: a service, and one of its requests.
#[derive(Debug, Clone, Default)]
pub struct Author {
    service: Arc<str>,
    request_id: Option<Arc<str>>,
}

impl Author {
    /// A service, without a request.
    pub fn new(service: Arc<str>) -> Self {
        Self { service, request_id: None }
    }

    /// The same service, for a request.
    pub(super) fn for_request(&self, request_id: Option<Arc<str>>) -> Self {
        Self { service: self.service.clone(), request_id }
    }

    fn write(&self, level: Level, context: &str, text: &str) {
        let (service, request_id) = (&*self.service, self.request_id.as_deref());
        // Without a context, the line has no such field.
        let context = Some(excerpt(context, CONTEXT_BYTES)).filter(|context| !context.is_empty());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "guest", request_id, service, context, "{service}: {text}")
            };
        }
        match level {
            Level::Trace => line!(trace),
            Level::Debug => line!(debug),
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error | Level::Critical => line!(error),
        }
    }
}

/// Links the log. A response to a request that wrote a line is not cached: a cached one would write none.
pub(super) fn link_logging(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable)
}

impl wit::Host for Guest {
    async fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        if let Some(text) = self.output.line(&message) {
            self.grants.author.write(level, &self.output.shown(context.as_bytes(), 0), &text);
        }
        Ok(())
    }
}
