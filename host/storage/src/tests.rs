//! What the tests of both engines share: the promises of the contract, and a reader of packed rows.

pub(crate) mod contract;
mod unpack;
