//! Tests for both engines: the contract, and a reader of packed rows.

pub(crate) mod contract;
mod unpack;
