//! Components that attack their host, and the verdict that each must get.

pub mod ground;

pub mod verdicts;

pub mod code;
