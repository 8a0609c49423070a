//! The early end of a request, with the cause that only the log shows.

use crate::body::{BodyError, BodyRefusal};
use crate::error::Error;
use crate::gate::Refusal;
use crate::head::HeadError;
use crate::revision::Failure;
use crate::route::NoRoute;

/// Why a request ended without the response of its guest.
pub(super) struct Stop {
    /// What the client may know.
    pub(super) error: Error,
    /// What the operator needs to know. None if the error says it all.
    pub(super) cause: Option<String>,
    /// What the guest printed.
    pub(super) output: Option<String>,
}

impl Stop {
    /// The host itself panicked.
    pub(super) fn panic() -> Self {
        let cause = "the host panicked: look for the panic message in its log";
        Self { cause: Some(cause.to_owned()), ..Error::Internal.into() }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self { error, cause: None, output: None }
    }
}

impl From<HeadError> for Stop {
    fn from(error: HeadError) -> Self {
        Error::from(error).into()
    }
}

impl From<NoRoute> for Stop {
    fn from(none: NoRoute) -> Self {
        Error::from(none).into()
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

impl From<BodyRefusal> for Stop {
    fn from(refusal: BodyRefusal) -> Self {
        Self { cause: Some(refusal.to_string()), ..Error::from(refusal).into() }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { error: Error::from(&failure), cause: Some(failure.cause), output: failure.output }
    }
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        Self { cause: Some(format!("the response's body ended early: {error}")), ..Error::Internal.into() }
    }
}
