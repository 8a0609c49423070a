//! Every cause for which the host answers instead of a guest: in the gateway, and in the admin listener.
//!
//! The layers below have errors of their own, which know no HTTP status. The conversions here turn each of them into a cause, and
//! `error/table.rs` gives each cause its status and code. The reason that only the operator needs goes to the log instead.

mod table;

use storage::StorageError;

use crate::body::BodyRefusal;
use crate::deploy::{DeployError, ReloadError};
use crate::gate::Refusal;
use crate::head::HeadError;
use crate::revision::{Failure, FailureKind};
use crate::route::NoRoute;
use crate::tokens::{IssueError, KeyChangeError, RevokeError};

pub use table::Row;

/// Why the gateway answers a request itself. The admin listener shares most of these causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No route of this listener has the path.
    NotFound,
    /// The path has routes, but for other methods.
    MethodNotAllowed {
        /// The methods, as the header `Allow` lists them.
        allow: String,
    },
    /// The request is ambiguous or cannot be read. Tells the client what to send instead.
    BadRequest(&'static str),
    /// The target is longer than 8 KiB.
    UriTooLong,
    /// The header fields have more than 32 KiB, or there are more than 100.
    HeadersTooLarge,
    /// The request names a host that a listener on loopback does not answer to.
    ForeignHost,
    /// The body has a content coding that neither the host nor the component decodes.
    UnsupportedCoding,
    /// There is no bearer token.
    MissingToken,
    /// The token is invalid, expired or revoked.
    InvalidToken,
    /// The token is valid, but its role is not enough.
    Forbidden,
    /// The request names a revision without the admin token.
    VersionForbidden,
    /// The request names a revision that is neither active nor a canary.
    VersionUnknown,
    /// The body is over this limit, in bytes.
    BodyTooLarge(usize),
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The client, the service or the host is at a limit.
    Overloaded,
    /// The client, the service or the host has as many streams open as it may have.
    TooManyStreams,
    /// The service has no active revision.
    Vacant,
    /// The guest trapped, or sent no valid response.
    GuestFailed,
    /// The database was lost during a commit of the guest, which it may have made.
    OutcomeUnknown,
    /// The guest needed more memory than its limit.
    GuestOutOfMemory,
    /// The guest computed or ran for longer than its limit.
    GuestTooSlow,
    /// The host itself failed.
    Internal,
}

/// Why the admin listener does not do what the operator asked for.
#[derive(Debug)]
pub enum AdminError {
    /// A cause that the gateway has too.
    Common(Error),
    /// The deploy, rollback or canary was refused or failed.
    Deploy(DeployError),
    /// The manifest was not reloaded.
    Reload(ReloadError),
    /// The token keys could not be changed, or not completely.
    Keys(KeyChangeError),
    /// `If-Match` names an entity tag, and a key has none.
    KeyHasNoTag,
    /// A page of another origin made the request in the operator's browser.
    ForeignOrigin,
    /// The console's session is over, or never was.
    SessionEnded,
    /// As many consoles listen to events as may.
    TooManyConsoles,
    /// The audit log was changed, or has no line with the anchor. Says where.
    AuditBroken(String),
    /// The manifest does not let the operator issue access tokens.
    NoTokens,
    /// The access token was not issued.
    Token(IssueError),
    /// The session of a user was not ended.
    Session(RevokeError),
    /// The service has no database.
    NoDatabase,
    /// The database of a service gave no tables or rows.
    Database(StorageError),
    /// A backup has no room. Says what to do.
    BackupRefused(String),
    /// A backup was not created, or could not be read. Says why.
    BackupFailed(String),
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::UriTooLong => Self::UriTooLong,
            HeadError::HeadersTooLarge => Self::HeadersTooLarge,
            HeadError::Ambiguous(what_to_send) => Self::BadRequest(what_to_send),
        }
    }
}

impl From<NoRoute> for Error {
    /// The gateway answers `OPTIONS` on an existing path before this, so it is no special case here.
    fn from(none: NoRoute) -> Self {
        match none {
            NoRoute::Path => Self::NotFound,
            NoRoute::Method(allow) | NoRoute::Options(allow) => Self::MethodNotAllowed { allow },
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MissingToken => Self::MissingToken,
            Refusal::InvalidToken => Self::InvalidToken,
            Refusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<BodyRefusal> for Error {
    fn from(refusal: BodyRefusal) -> Self {
        match refusal {
            BodyRefusal::TooLarge(limit) => Self::BodyTooLarge(limit),
            BodyRefusal::TooSlow => Self::BodyTooSlow,
            BodyRefusal::Broken => Self::BadRequest("The body is broken or incomplete"),
            BodyRefusal::Overloaded => Self::Overloaded,
            BodyRefusal::SessionEnded => Self::InvalidToken,
        }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::Busy => Self::Overloaded,
            FailureKind::TooManyStreams => Self::TooManyStreams,
            FailureKind::Body(refusal) => refusal.into(),
            FailureKind::Trapped | FailureKind::BadAnswer => Self::GuestFailed,
            FailureKind::OutcomeUnknown => Self::OutcomeUnknown,
            FailureKind::OutOfMemory => Self::GuestOutOfMemory,
            FailureKind::ComputedTooLong | FailureKind::TookTooLong => Self::GuestTooSlow,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        (&failure).into()
    }
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        Self::Common(error)
    }
}

impl From<BodyRefusal> for AdminError {
    fn from(refusal: BodyRefusal) -> Self {
        Self::Common(refusal.into())
    }
}

impl From<DeployError> for AdminError {
    fn from(error: DeployError) -> Self {
        Self::Deploy(error)
    }
}

impl From<ReloadError> for AdminError {
    fn from(error: ReloadError) -> Self {
        Self::Reload(error)
    }
}

impl From<KeyChangeError> for AdminError {
    fn from(error: KeyChangeError) -> Self {
        Self::Keys(error)
    }
}

impl From<IssueError> for AdminError {
    fn from(error: IssueError) -> Self {
        Self::Token(error)
    }
}
