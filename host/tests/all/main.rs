//! Whole hosts, spoken to over HTTP. One binary, so that the compiled components and the harness are shared.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test may panic, and documents by its name")]

mod harness;

mod architecture;
mod calls;
mod envelope;
mod http;
mod limits;
mod orders;
mod original_client;
mod plain;
mod products;
mod start;
