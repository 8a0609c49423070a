//! Whole hosts, spoken to over HTTP. One binary, because linking many takes long.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test may panic, and documents by its name")]

mod access;
mod architecture;
mod audit;
mod auth;
mod backup;
mod binary;
mod bodies;
mod calls;
mod compression;
mod config;
mod cors;
mod crashes;
mod credentials;
mod denied;
mod deploys;
mod documents;
mod envelope;
mod heads;
mod hostile_clients;
mod hostile_guests;
mod hosts;
mod http;
mod limits;
mod million;
mod mounts;
mod openapi;
mod orders;
mod original_client;
mod outbound;
mod panics;
mod plain;
mod products;
mod properties;
mod records;
mod refusals;
mod response_cache;
mod reuse;
mod start;
mod streams;
mod tls;
mod two_hosts;
mod users;
mod wasm_features;
