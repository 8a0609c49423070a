//! What happened in a deploy, step by step.

use std::time::Instant;

use serde::Serialize;

use super::record::RecordError;
use super::serving::Share;
use crate::printable::excerpt;

/// How far a component got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Its file is here.
    Received,
    /// It is a component that can answer HTTP, and the one that the caller meant.
    Verified,
    /// It is machine code.
    Compiled,
    /// Its imports are granted and joined to the host.
    Linked,
    /// Its routes, migrations and schema range are known and within bounds.
    Described,
    /// Its database has a schema that it works with.
    Migrated,
    /// Its health and its probes were answered with 2xx.
    Probed,
    /// Requests reach it.
    Active,
}

impl Step {
    /// The step in words, as in "could not be …".
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Linked => "linked",
            Self::Described => "described",
            Self::Migrated => "migrated",
            Self::Probed => "probed",
            Self::Active => "activated",
        }
    }
}

/// Bytes of a reason that are shown. A reason repeats what a component says, and goes into the log, the history and the answer.
const REASON_BYTES: usize = 8 << 10;

/// Why a component does not serve. Shown on one line, with an excerpt of the reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the service `{service}` could not be {}: {}", step.word(), excerpt(reason, REASON_BYTES))]
pub struct Refused {
    /// The service that it was meant for.
    pub service: String,
    /// The step that failed.
    pub step: Step,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Why nothing was activated.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifest names no such service.
    #[error("there is no service `{0}` in the manifest")]
    UnknownService(String),
    /// Another deploy of the service runs.
    #[error("another deploy of `{0}` is running: wait for it to end")]
    Busy(String),
    /// Another revision is active than the order was for.
    #[error("`{service}` is at {active} now, not at the revision that this was meant to replace: look at it again")]
    Changed {
        /// The service.
        service: String,
        /// The digest that is active.
        active: String,
    },
    /// A canary of the service runs, or one that nothing can be added to.
    #[error("a canary of {0} is running: promote it or abort it first")]
    CanaryRunning(String),
    /// A set that something else may not be added to, or that is not promoted alone, is being staged.
    #[error("a set of {0} is being deployed: wait for it to end, or end it with `comptoir abort`")]
    SetRunning(String),
    /// No canary runs, or not the one that was meant.
    #[error("no canary is running, or not the one that this was meant for: look at it again")]
    NoCanary,
    /// The host stops.
    #[error("the host is stopping")]
    Stopping,
    /// There is no revision to go back to.
    #[error("`{service}` has no revision {wanted} to go back to")]
    NothingBefore {
        /// The service.
        service: String,
        /// What was asked for.
        wanted: String,
    },
    /// The revision before was itself left by a rollback.
    #[error(
        "the revision before is {target}, which `{service}` was rolled back from: name the one to go to with `--to`, as \
         `comptoir history {service}` lists them"
    )]
    WasLeft {
        /// The service.
        service: String,
        /// The digest of the revision before.
        target: String,
    },
    /// The component did not pass.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host is too busy to try the component, which may pass another time.
    #[error(transparent)]
    Crowded(Refused),
    /// The disk does not let the host write down what it does.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// One step that was taken.
#[derive(Debug, Clone, Serialize)]
pub struct StepTaken {
    /// Which.
    pub step: Step,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What there is to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Takes the time of steps as they are done.
#[derive(Debug)]
pub(super) struct Steps {
    taken: Vec<StepTaken>,
    last: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self { taken: Vec::new(), last: Instant::now() }
    }
}

impl Steps {
    /// A step is done.
    pub(super) fn done(&mut self, step: Step, note: Option<String>) {
        let now = Instant::now();
        let took_us = u64::try_from((now - self.last).as_micros()).unwrap_or(u64::MAX);
        self.taken.push(StepTaken { step, took_us, note });
        self.last = now;
    }

    /// All that were done.
    pub(super) fn into_taken(self) -> Vec<StepTaken> {
        self.taken
    }
}

/// What a deploy or a rollback did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its line in the history.
    pub id: i64,
    /// The service.
    pub service: String,
    /// The revision before, SHA-256 in hexadecimal.
    pub from: Option<String>,
    /// The revision after.
    pub to: String,
    /// Whether requests reach another revision than before.
    pub changed: bool,
    /// The share of callers that reach the revision after, where that is a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
    /// The key that signed the revision after, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// From this instant on no request is started on the revision before (seconds since 1970-01-01 UTC, with fractions). None
    /// for a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_since: Option<f64>,
    /// The steps, in order.
    pub steps: Vec<StepTaken>,
    /// Routes and imports that came, went or changed their access.
    pub differences: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_any_length_becomes_one_short_line_without_control_characters() {
        let reason = "the import \u{1b}]0;x\u{7}\n".repeat(500_000);
        let refused = Refused { service: "orders".to_owned(), step: Step::Linked, reason };
        let shown = DeployError::from(refused).to_string();
        assert!(
            shown.starts_with(r"the service `orders` could not be linked: the import \u{1b}]0;x\u{7}\nthe"),
            "{shown}"
        );
        assert!(shown.len() < 9_000 && !shown.contains(char::is_control), "{} bytes", shown.len());
    }
}
