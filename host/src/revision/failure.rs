//! Why a revision returned no response.

use crate::body::BodyRefusal;

/// Why a revision returned no response, as far as the client may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No instance slot became free in time.
    Busy,
    /// The client, the service or the host has as many streams as it may have.
    TooManyStreams,
    /// The request's body was refused while it streamed.
    Body(BodyRefusal),
    /// The guest trapped, or a host function failed.
    Trapped,
    /// The database was lost during a commit, which it may have made.
    OutcomeUnknown,
    /// The guest reached its memory limit and trapped.
    OutOfMemory,
    /// The guest exceeded its `cpu` limit.
    ComputedTooLong,
    /// The response did not begin within the `time` limit.
    TookTooLong,
    /// The guest ended without a response, or its response is not valid HTTP.
    BadAnswer,
}

/// Why a revision returned no response, with the cause for the operator.
#[derive(Debug)]
pub struct Failure {
    /// The kind, from which the client's error code follows.
    pub kind: FailureKind,
    /// The cause for the access log. Clients must not see it.
    pub cause: String,
    /// What the guest printed to stdout and stderr, if anything.
    pub output: Option<String>,
}
