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
//! - `route`, `gate`, `tokens`, `passwords` and the crate `storage` know no wasm and no HTTP status: `error` maps their errors to one.
//! - A module uses only modules that are listed below it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// A module uses only modules that stand below it, and a leaf uses none: `tests/all/architecture.rs` reads this list.

// Builds everything else, serves, and stops.
pub mod host;

// What the operator and the clients ask for.
pub mod admin;
pub mod gateway;

// Turns every failure into an HTTP response.
pub mod error;

// Brings revisions into service, judges them and rolls them back.
pub mod deploy;

// A compiled component, and what runs it.
pub mod revision;
pub mod engine;

// The interfaces that a component may import.
pub mod guest;

// What comes before a revision: connections, access control, the manifest.
pub mod listener;
pub mod gate;
pub mod head;
pub mod manifest;

// What a revision's answer may be taken from or stored in.
pub mod answers;
pub mod backup;
pub mod signature;
pub mod tokens;
pub mod audit;
pub mod body;
pub mod key_file;
pub mod passwords;

// Leaves.
pub mod clock;
pub mod printable;
pub mod route;
pub mod shares;
pub mod telemetry;
pub mod version;
