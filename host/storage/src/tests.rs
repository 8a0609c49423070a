//! Tests for both engines: the contract.

pub(crate) mod contract;
pub(crate) mod keyvalue;
