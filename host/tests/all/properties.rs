//! Properties that hold for all inputs, checked with random cases: a few in `just test`, any number in `just fuzz`.

mod components;
mod imports;
mod manifest;
mod operator;
mod orders;
mod router;
mod tokens;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs `cases` cases, the same in each run. If `PROPTEST_CASES` is set, runs that many, different in each run.
pub fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    TestRunner::new(Config { cases: asked.unwrap_or(cases), failure_persistence: None, rng_seed, ..Config::default() })
}

/// Texts with a special meaning in some other context.
const SUSPECT: [&str; 24] = [
    "",
    " ",
    "\0",
    "a\r\nx-user-id: admin",
    "\u{1b}[2J",
    "..",
    "/../../etc/passwd",
    "%2e%2e%2f",
    "' OR 1=1 --",
    "$1",
    "${HOME}",
    "{{7*7}}",
    "\u{202e}admin",
    "\u{feff}",
    "\u{0301}",
    "ﬀ",
    "null",
    "NaN",
    "-0",
    "18446744073709551616",
    "1e400",
    "[[[[[[[[",
    "{\"a\":",
    "true",
];

/// Any text: random, suspicious or long.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::collection::vec(any::<char>(), 0..24).prop_map(String::from_iter),
        4 => select(&SUSPECT[..]).prop_map(str::to_owned),
        1 => (any::<char>(), 1..6000_usize).prop_map(|(one, times)| one.to_string().repeat(times)),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..48)
}

/// A change of a part of a valid input.
#[derive(Debug, Clone)]
enum Change {
    Remove,
    Double,
    Write(Vec<u8>),
    /// Flips bits of the first byte.
    Flip(u8),
}

fn change(words: &'static [&'static str]) -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Remove),
        Just(Change::Double),
        select(words).prop_map(|word| Change::Write(word.as_bytes().to_vec())),
        text().prop_map(|text| Change::Write(text.into_bytes())),
        (1..=255_u8).prop_map(Change::Flip),
    ]
}

/// Changes for an input of any length, each with its position and its maximum length.
fn changes(words: &'static [&'static str]) -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Change)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..32_usize, change(words)), 1..6)
}

fn changed(right: &[u8], changes: &[(prop::sample::Index, usize, Change)]) -> Vec<u8> {
    let mut bytes = right.to_vec();
    for (place, length, change) in changes {
        let from = place.index(bytes.len() + 1);
        let until = (from + length).min(bytes.len());
        let part = match change {
            Change::Remove => Vec::new(),
            Change::Double => bytes[from..until].repeat(2),
            Change::Write(written) => written.clone(),
            Change::Flip(bits) => bytes[from..until]
                .iter()
                .enumerate()
                .map(|(at, byte)| if at == 0 { byte ^ bits } else { *byte })
                .collect(),
        };
        bytes.splice(from..until, part);
    }
    bytes
}
