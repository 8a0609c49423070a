//! Comptoir: a host for WebAssembly services.
//!
//! One binary loads a manifest, compiles the components that it names and serves them over HTTP, each request in a sandbox of
//! its own. This is the way of a request:
//!
//! ```text
//! bytes -> listener -> route -> gate -> revision -> guest -> response
//!                        |        |        |          |
//!                        NoRoute  Refusal  Vacant     Failure      -> error -> response, in the envelope
//! ```
//!
//! A revision that gave the answer before, and would give it again, makes no guest (`answers`).
//!
//! # Invariants
//!
//! - A revision answers nothing but an `Admitted`, and the gate alone makes one.
//! - A request sees one deployment, from its route to the last byte of its answer.
//! - An answer is given again only where the guest would give it now; the gate runs before that is asked.
//! - `deploy` is the only writer of the deployment.
//! - Signing keys and password hashes are computed on in the host and never enter a guest.
//! - `route`, `gate`, `storage`, `tokens` and `passwords` know no wasm and no HTTP status: `error` turns what they say into one.
//! - Nothing points up: a module uses those that stand below it here.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// The object graph, and what comes before and after serving.
pub mod host;

// What an operator does with a host's data, whether it serves or not.
pub mod backup;

// What is asked of the host: by the operator in a file, by clients, by the operator over HTTP.
pub mod admin;
pub mod gateway;
pub mod listener;

// From a cause to an answer.
pub mod error;

// What serves, and how it comes to serve.
pub mod deploy;
pub mod revision;

// The sandbox.
pub mod engine;
pub mod guest;

// What need not be asked twice.
pub mod answers;

// Leaves.
pub mod audit;
pub mod body;
pub mod clock;
pub mod gate;
pub mod key_file;
pub mod manifest;
pub mod passwords;
pub mod permissions;
pub mod printable;
pub mod priority;
pub mod route;
pub mod shares;
pub mod signature;
pub mod storage;
pub mod telemetry;
pub mod tokens;
pub mod version;
