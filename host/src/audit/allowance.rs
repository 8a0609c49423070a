//! How many lines of a kind are written in a time: for whoever can cause them again and again for nothing.

use std::sync::{Mutex, PoisonError};

/// So many lines in so many seconds. The times follow one upon the other; what is left of one is lost.
#[derive(Debug)]
pub(super) struct Allowance {
    lines: u32,
    seconds: u64,
    spent: Mutex<Spent>,
}

/// What was taken in one of the times, which are numbered since 1970-01-01.
#[derive(Debug, Default)]
struct Spent {
    time: u64,
    lines: u32,
}

impl Allowance {
    /// So many lines in so many seconds.
    pub(super) fn new(lines: u32, seconds: u64) -> Self {
        Self { lines, seconds, spent: Mutex::default() }
    }

    /// Takes a line at this second since 1970-01-01 UTC. Whether there was one left.
    pub(super) fn take(&self, second: u64) -> bool {
        let time = second / self.seconds;
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.time != time {
            *spent = Spent { time, lines: 0 };
        }
        let left = spent.lines < self.lines;
        spent.lines += u32::from(left);
        left
    }
}
