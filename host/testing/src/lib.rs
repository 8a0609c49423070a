//! What the tests and the laboratories share: whole hosts, and clients that speak HTTP to them.
//!
//! A test that needs a host in its own process opens a [`Shop`]. A test that kills the host or reads its process's figures
//! starts the program: [`process::Process`] for any services, [`shop_process::ShopProcess`] for the shop.

#![allow(clippy::unwrap_used, missing_docs, reason = "only tests use it, and a test may panic")]

// Dependencies only because of their features: see Cargo.toml.
pub use criterion;
pub use proptest;
pub use rcgen;

pub mod crash_lab;
pub mod hostile;
pub mod ledger;
pub mod process;
pub mod shop_process;

pub mod lost_writes;
mod rows;
mod shop;

mod client;
pub mod databases;
mod manifests;

pub mod built;

pub use built::component;
pub use client::{Answer, Client, PASSWORD, is_date_time, send};
pub use manifests::{AMPLE, manifest_of, options, shop_manifest, shop_manifest_with_pages, try_manifest_of};
pub use shop::Shop;
