//! Comptoir: a host for WebAssembly services.
//!
//! One binary reads a manifest, compiles the components that it names, and serves them over HTTP. Each request runs in its own sandbox.
//! This is the path of a request:
//!
//! ```text
//! bytes -> listener -> route -> gate -> revision -> guest -> response
//!                        |        |        |          |
//!                        NoRoute  Refusal  Vacant     Failure      -> error -> response, in the envelope
//! ```
//!
//! If the response cache has a current response, no guest runs (`response_cache`).
//!
//! # Invariants
//!
//! - A revision answers only an `Admitted` request, and only the gate can make one.
//! - A request sees one deployment, from its route to the last byte of its response.
//! - A cached response is used only if the guest would return the same now. The gate checks the request before the cache is read.
//! - Only `deploy` changes the deployment.
//! - Signing keys and password hashes stay in the host. They never enter a guest.
//! - `route`, `gate`, `tokens`, `passwords` and the crate `storage` know no wasm and no HTTP status: `error` maps their errors to
//!   a status.
//! - A module uses only modules that are listed below it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// In topological order: a module uses only modules below it, and a leaf uses none. `tests/all/architecture.rs` reads this list.

// Builds everything else, serves, and stops.
pub mod host;

// What the operator and the clients ask for.
pub mod admin;
pub mod gateway;

// Turns every failure into an HTTP response.
pub mod error;

// Deploys revisions, watches them and reverts the bad ones.
pub mod deploy;

// A compiled component, and what runs it.
pub mod revision;
pub mod engine;

// Checks a request before it reaches a revision: connections, access control. Also the manifest.
pub mod listener;
pub mod gate;
pub mod head;
pub mod manifest;

// The interfaces that a component may import.
pub mod guest;

// Requests to remote hosts, and to the collector of traces.
pub mod traces;
pub mod outbound;

// Data that outlives a request: cached responses, tokens, the audit log, backups.
pub mod response_cache;
pub mod backup;
pub mod signature;
pub mod tokens;
pub mod audit;
pub mod body;
pub mod key_file;
pub mod passwords;

// Leaves.
pub mod clock;
pub mod duration;
pub mod printable;
pub mod route;
pub mod shares;
pub mod telemetry;
pub mod version;
