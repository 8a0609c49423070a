//! Why instances of one revision were not reused, although the manifest says `reuse`.
//!
//! A service with `reuse` that gets a new instance for each request only seems slow. So the host counts each discarded instance, and logs
//! the first one of each kind. Instances that a swap, a trap or a minute without requests ends are not counted here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytesize::ByteSize;

use crate::guest::{MAX_LEFTOVERS, NotReusable};

/// Why an instance answered no further request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// It uses too much memory.
    Memory,
    /// It left too many handles open.
    Handles,
    /// It left a handle open that must not outlive its request.
    OpenResource,
    /// It answered as many requests as one instance may.
    Requests,
    /// `reuse = "session"`, and the caller has no session.
    NoSession,
    /// The first second request to an instance failed, so the revision reuses none.
    CannotRepeat,
}

impl Discard {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::Handles, Self::OpenResource, Self::Requests, Self::NoSession, Self::CannotRepeat];

    /// Its word in the metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Handles => "handles",
            Self::OpenResource => "open-resource",
            Self::Requests => "requests",
            Self::NoSession => "no-session",
            Self::CannotRepeat => "cannot-repeat",
        }
    }
}

/// Counts the instances of one revision that were not reused.
#[derive(Debug)]
pub struct Discards {
    service: Arc<str>,
    memory_limit: ByteSize,
    counts: [AtomicU64; Discard::ALL.len()],
    /// Whether an instance that has answered before could answer again. Unset until one tried.
    repeats: OnceLock<bool>,
}

impl Discards {
    pub(super) fn new(service: Arc<str>, memory_limit_bytes: usize) -> Self {
        Self {
            service,
            memory_limit: ByteSize::b(memory_limit_bytes as u64),
            counts: Default::default(),
            repeats: OnceLock::new(),
        }
    }

    /// How many instances were discarded for this reason.
    pub fn count(&self, discard: Discard) -> u64 {
        self.counts[discard as usize].load(Ordering::Relaxed)
    }

    /// Counts an instance that is dropped after this many requests. Logs the first one of its kind.
    pub(super) fn not_reusable(&self, why: NotReusable, requests: u32) {
        match why {
            NotReusable::Memory(bytes) => self.log(Discard::Memory, requests, || {
                let (used, limit, service) = (ByteSize::b(bytes as u64), self.memory_limit, &self.service);
                format!(
                    "it uses {used} of memory, more than a quarter of its limit of {limit}: raise `memory` in the \
                     limits of [services.{service}]"
                )
            }),
            NotReusable::Handles(open) => self.log(Discard::Handles, requests, || {
                format!("it left {open} handles open, more than the limit of {MAX_LEFTOVERS}")
            }),
            NotReusable::OpenResource => self.log(Discard::OpenResource, requests, || {
                "it left a handle open that must not outlive its request, such as a transaction, a timer or a file: close it in \
                 the component"
                    .to_owned()
            }),
        }
    }

    /// Counts an instance that answered as many requests as it may.
    pub(super) fn served_enough(&self, requests: u32) {
        self.log(Discard::Requests, requests, || "one instance answers no more".to_owned());
    }

    /// Counts a request whose caller has no session, so that its instance is dropped.
    pub(super) fn no_session(&self) {
        self.log(Discard::NoSession, 1, || {
            "its caller has no login, and `reuse = \"session\"` reuses an instance only for the same login".to_owned()
        });
    }

    /// Notes whether an instance that had answered before answered again or failed. The first one decides for the revision.
    ///
    /// Some runtimes answer one request for each instance, and fail at the second: the `fetch` listener of JavaScript does. With later
    /// failures it is the request's fault.
    pub(super) fn repeated(&self, answered: bool) {
        let _ = self.repeats.set(answered);
    }

    /// Whether instances can be reused, as far as is known. If not, counts one that is dropped.
    pub(super) fn can_repeat(&self) -> bool {
        let can = *self.repeats.get().unwrap_or(&true);
        if !can {
            self.log(Discard::CannotRepeat, 1, || {
                "the first one with a second request failed, so this revision reuses none: remove `reuse`, or use a \
                 runtime whose instances answer several requests. A `fetch` listener of JavaScript answers one"
                    .to_owned()
            });
        }
        can
    }

    fn log(&self, discard: Discard, requests: u32, describe: impl FnOnce() -> String) {
        if let Some(text) = self.add(discard, requests, describe) {
            if discard == Discard::CannotRepeat {
                tracing::warn!(service = &*self.service, kind = discard.name(), requests, "{text}");
            } else {
                tracing::info!(service = &*self.service, kind = discard.name(), requests, "{text}");
            }
        }
    }

    /// Counts an instance. Returns the text of its log line if it is the first one of its kind.
    fn add(&self, discard: Discard, requests: u32, describe: impl FnOnce() -> String) -> Option<String> {
        let is_first = self.counts[discard as usize].fetch_add(1, Ordering::Relaxed) == 0;
        let times = if requests == 1 { "one request".to_owned() } else { format!("{requests} requests") };
        is_first.then(|| {
            format!(
                "{}: dropped an instance after {times}, because {}. The metric `comptoir_instances_discarded` counts the others",
                self.service,
                describe()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_discard_of_each_kind_is_described_and_all_are_counted() {
        let discards = Discards::new("site".into(), 64 << 20);
        let first = discards.add(Discard::Handles, 40, || "it left 300 handles open".to_owned());
        assert_eq!(
            first.as_deref(),
            Some(
                "site: dropped an instance after 40 requests, because it left 300 handles open. The metric \
                 `comptoir_instances_discarded` counts the others"
            )
        );
        assert_eq!(discards.add(Discard::Handles, 1, || panic!("only the first is described")), None);
        discards.not_reusable(NotReusable::Memory(17 << 20), 1);
        discards.not_reusable(NotReusable::OpenResource, 1);
        discards.served_enough(1000);
        discards.no_session();
        assert_eq!(Discard::ALL.map(|discard| discards.count(discard)), [1, 2, 1, 1, 1, 0]);
    }

    #[test]
    fn the_first_repeated_request_decides_whether_instances_are_reused() {
        for answered in [true, false] {
            let discards = Discards::new("site".into(), 64 << 20);
            assert!(discards.can_repeat(), "unknown");
            discards.repeated(answered);
            discards.repeated(!answered);
            assert_eq!(
                (discards.can_repeat(), discards.count(Discard::CannotRepeat)),
                (answered, u64::from(!answered))
            );
        }
    }
}
