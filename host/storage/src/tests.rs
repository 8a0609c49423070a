//! Tests for both engines: the contract.

pub(crate) mod contract;

mod keyvalue;
mod limits;
mod migrations;
mod shop;
mod transactions;
mod values;
