//! What a deploy did step by step, and why it failed.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::record::RecordError;
use super::serving::Share;
use crate::printable::excerpt;
use crate::telemetry::{Kind, Span};

/// A step of a deploy. A component has passed the steps before the one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The component's file has arrived.
    Received,
    /// The file is a component that can answer HTTP. Its digest and its signature are correct.
    Verified,
    /// It is compiled to machine code.
    Compiled,
    /// Its imports are granted and linked.
    Linked,
    /// Its routes, migrations and schema range are known and allowed.
    Described,
    /// The database has a schema that it works with.
    Migrated,
    /// Its health route and all of its probes answered 2xx.
    Probed,
    /// Requests reach the new revision.
    Active,
}

impl Step {
    /// The step as a participle, for messages like "could not be …".
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

/// Maximum length of a reason in a message, in bytes. A reason repeats text of the component, and appears in log, history and
/// HTTP answer.
const REASON_BYTES: usize = 8 << 10;

/// Maximum length of a reason in the history and in a start's notes, in characters. The component decides how long its own
/// text is.
const NOTED_CHARACTERS: usize = 1000;

/// Cuts a reason to the length that the history and a start's notes keep.
pub(super) fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(NOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// The refusal of a component at one of the steps. Its message is one line, with an excerpt of the reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the service `{service}` could not be {}: {}", step.word(), excerpt(reason, REASON_BYTES))]
pub struct Refused {
    /// The service that the component was meant for.
    pub service: String,
    /// The step that failed.
    pub step: Step,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// Why a deploy, canary or rollback changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifest does not name this service.
    #[error("there is no service `{0}` in the manifest")]
    UnknownService(String),
    /// Another deploy of the service is running.
    #[error("another deploy of `{0}` is running: wait for it to end")]
    Busy(String),
    /// The active revision is not the one that the order was meant to replace.
    #[error(
        "`{service}` now runs {active}, not the revision that this deploy was meant to replace: check `comptoir status` again"
    )]
    Changed {
        /// The name of the service.
        service: String,
        /// The digest that is active.
        active: String,
    },
    /// A canary is running, and includes the service or accepts no more candidates.
    #[error("a canary of {0} is running: promote it or abort it first")]
    CanaryRunning(String),
    /// A set is being staged. Only orders with its name may change it.
    #[error("a set of {0} is being deployed: wait for its end, or end it with `comptoir abort`")]
    SetRunning(String),
    /// No canary is running, or not the one that the order was meant for.
    #[error("no canary is running, or not the one that this was meant for: check `comptoir canary` again")]
    NoCanary,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// There is no revision to roll back to.
    #[error("`{service}` has no {wanted} to roll back to")]
    NothingBefore {
        /// The name of the service.
        service: String,
        /// What was asked for, in words: the previous revision, or one with certain digits.
        wanted: String,
    },
    /// The operator has already rolled back from the previous revision.
    #[error(
        "the previous revision is {target}, and `{service}` was rolled back from it before: name the revision to activate with \
         `--to` (`comptoir history {service}` lists them)"
    )]
    RolledBackFrom {
        /// The name of the service.
        service: String,
        /// The digest of the previous revision.
        target: String,
    },
    /// The component was refused at one of the steps.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The component changed the text of a migration that ran already.
    #[error(transparent)]
    ChangedMigration(Refused),
    /// The host is too busy to run the component now. The same deploy may succeed later.
    #[error(transparent)]
    Crowded(Refused),
    /// The record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A step that is done.
#[derive(Debug, Clone, Serialize)]
pub struct StepTaken {
    /// The step that was done.
    pub step: Step,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Details, such as how many probes passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Collects the steps that are done, and how long each took.
pub(super) struct Steps {
    taken: Vec<StepTaken>,
    last: Instant,
    /// Called with each step.
    tell: Box<dyn Fn(&StepTaken) + Send + Sync>,
    /// Has a child for each step, if it is sampled.
    span: Span,
}

impl Default for Steps {
    fn default() -> Self {
        Self::told(|_| ())
    }
}

impl Steps {
    /// Calls a function with each step when it is done.
    pub(super) fn told(tell: impl Fn(&StepTaken) + Send + Sync + 'static) -> Self {
        Self { taken: Vec::new(), last: Instant::now(), tell: Box::new(tell), span: Span::default() }
    }

    /// The same steps with a span, which ends with them.
    pub(super) fn traced(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Adds a step that is done now.
    pub(super) fn done(&mut self, step: Step, note: Option<String>) {
        let now = Instant::now();
        let took_us = u64::try_from((now - self.last).as_micros()).unwrap_or(u64::MAX);
        let taken = StepTaken { step, took_us, note };
        (self.tell)(&taken);
        self.trace(&taken);
        self.taken.push(taken);
        self.last = now;
    }

    fn trace(&self, taken: &StepTaken) {
        let began = || SystemTime::now().checked_sub(Duration::from_micros(taken.took_us));
        let parent = self.span.parent();
        if parent.is_sampled() {
            let mut child = parent.child_since(taken.step.word(), Kind::Internal, began());
            child.set("comptoir.note", || taken.note.clone().unwrap_or_default());
        }
    }

    /// Notes in the span why the deploy was refused.
    pub(super) fn fail(&mut self, why: impl FnOnce() -> String) {
        self.span.fail(why);
    }

    /// The steps that were done, in order.
    pub(super) fn take(&mut self) -> Vec<StepTaken> {
        std::mem::take(&mut self.taken)
    }
}

/// The span of a deploy or a rollback.
pub(super) fn span(what: &'static str, service: &str) -> Span {
    let mut span = Span::begin(what, Kind::Internal, None);
    span.rename(|| format!("{what} {service}"));
    span.set("comptoir.service", || service.to_owned());
    span
}

/// The result of a deploy or a rollback.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The id of its history line.
    pub id: i64,
    /// The name of the service.
    pub service: String,
    /// The previous revision: its SHA-256 in hexadecimal. None if there was none.
    pub from: Option<String>,
    /// The new revision.
    pub to: String,
    /// False if the component was already active.
    pub changed: bool,
    /// The share of the callers who reach the new revision, if it is a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
    /// The public key that signed the new revision, if it is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// When the new revision became active, in seconds since 1970-01-01 UTC with fractions. From then on no request starts on the
    /// previous revision. None for a canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_since: Option<f64>,
    /// The steps, in order.
    pub steps: Vec<StepTaken>,
    /// One sentence for each route or import that was added, removed or changed.
    pub differences: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_becomes_one_short_line_without_control_characters() {
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
