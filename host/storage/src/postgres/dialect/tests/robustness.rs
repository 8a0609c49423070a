use super::super::PANICKED;
use super::{ALLOWED, LIMITS, StorageError, again, migration};
use crate::postgres::dialect::{Translated, invalid};

fn statement(sql: &str, limits: &crate::postgres::dialect::Limits) -> Result<Translated, StorageError> {
    let outcome = crate::postgres::dialect::statement(sql, limits);
    assert_ne!(outcome, Err(invalid(PANICKED)), "{sql}");
    outcome
}

/// Runs a test on the smallest stack that a host may have.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

/// Statements with `many` nested or chained parts, of every kind.
fn deep(many: usize) -> Vec<String> {
    let chain = |item: &str, between: &str| format!("SELECT {}", vec![item; many].join(between));
    let around = |before: &str, after: &str| format!("SELECT {}1{}", before.repeat(many), after.repeat(many));
    vec![
        chain("1", "+"),
        chain("a", " AND "),
        chain("a", " OR "),
        chain("a", " = "),
        chain("a", " < "),
        chain("a", " || "),
        chain("a", " LIKE "),
        chain("a", " IS NULL AND "),
        chain("1", " UNION SELECT "),
        chain("1,1", " UNION SELECT "),
        chain("1", " INTERSECT SELECT "),
        chain("1", " COLLATE BINARY || "),
        chain("a", " NOT NULL AND "),
        chain("a", " BETWEEN 1 AND "),
        chain("a", " GLOB "),
        chain("a", "."),
        around("NOT ", ""),
        around("- ", ""),
        around("~", ""),
        around("(", ")"),
        around("(", ""),
        around("((1,", "))"),
        around("1 IN (", ")"),
        around("(SELECT ", ")"),
        around("EXISTS (SELECT ", ")"),
        around("abs(", ")"),
        around("abs(", ""),
        around("CAST(", " AS TEXT)"),
        around("CAST(", ""),
        around("CASE WHEN ", " THEN 1 END"),
        around("CASE ", " WHEN 1 THEN 1 END"),
        around("CASE ", ""),
        around("INTERVAL ", ""),
        around("ARRAY<", ">"),
        around("CAST(1 AS ARRAY<", ">"),
        around("STRUCT<a ", ">"),
        around("x(x(", "))"),
        around("CASE WHEN (", ""),
        format!("SELECT {} FROM t", around("- ", "")),
        format!("SELECT 1 FROM {}t{}", "(".repeat(many), ")".repeat(many)),
        format!("SELECT 1 FROM {}t", "(".repeat(many)),
        format!("SELECT 1 FROM {}t{}", "(SELECT 1 FROM ".repeat(many), ")".repeat(many)),
        format!("SELECT 1 FROM {}", "((SELECT 1 FROM ".repeat(many)),
        format!("SELECT 1 FROM t {}", "JOIN t ".repeat(many)),
        format!("SELECT 1 FROM t {}{}", "JOIN t ".repeat(many), "ON 1 ".repeat(many)),
        format!("{} SELECT 1", "WITH a AS (".repeat(many)),
        format!("{} SELECT 1 {}", "WITH a AS (".repeat(many), ") SELECT 1".repeat(many)),
        "WITH ".repeat(many),
        "INSERT INTO t ".repeat(many),
        format!("VALUES {}1{}", "(".repeat(many), ")".repeat(many)),
        format!("INSERT INTO t VALUES (1){}", " ON CONFLICT DO NOTHING".repeat(many)),
        format!("UPDATE t SET a = {}1", "a = ".repeat(many)),
    ]
}

#[test]
fn nothing_runs_out_of_stack() {
    on_a_small_stack(|| {
        for many in [10, 14, 16, 24, 40, 90, 150, 299, 1000, 5000] {
            for sql in deep(many) {
                let _ = statement(&sql, &LIMITS);
                let _ = migration(&sql);
                let _ = migration(&format!("CREATE TABLE t (a TEXT CHECK ({}))", sql.trim_start_matches("SELECT ")));
                let _ = migration(&format!("CREATE TABLE t (a {})", sql.trim_start_matches("SELECT ")));
                let _ = migration(&format!("CREATE VIEW v AS {sql}"));
            }
        }
    });
}

#[test]
fn long_statements_of_all_kinds_are_translated() {
    on_a_small_stack(|| {
        for piece in
            ["(", ")", ",", "'", "\"", "[", "`", "--", "/*", "$", "$1", "x", "X'", "1", ".", "-", "é", "\u{0}", "\n"]
        {
            let _ = statement(&piece.repeat(65_536 / piece.len()), &LIMITS);
            let _ = statement(&format!("SELECT {}", piece.repeat(65_000 / piece.len())), &LIMITS);
        }
    });
}

#[test]
fn normal_statements_are_not_too_large() {
    on_a_small_stack(|| {
        let values = (1..=1000).map(|n| format!("${n} + 1")).collect::<Vec<_>>();
        let rows = values.chunks(10).map(|row| format!("({})", row.join(", "))).collect::<Vec<_>>().join(", ");
        assert_eq!(statement(&format!("INSERT INTO t VALUES {rows}"), &LIMITS).unwrap().parameters, 1000);
        let conditions = (1..=100).map(|n| format!("t.a{n} = $1")).collect::<Vec<_>>().join(" AND ");
        assert!(statement(&format!("SELECT 1 FROM t WHERE {conditions}"), &LIMITS).is_ok());
        let nested = format!("SELECT 1 FROM {}t{}", "(SELECT a FROM ".repeat(5), ")".repeat(5));
        assert!(statement(&nested, &LIMITS).is_ok());
    });
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

const PIECES: &[&str] = &[
    "(",
    ")",
    ",",
    ";",
    "'",
    "\"",
    "`",
    "[",
    "]",
    "$1",
    "$",
    "--",
    "/*",
    "*/",
    " NOT ",
    " IN ",
    " AS ",
    ".",
    "*",
    "||",
    " SELECT ",
    " FROM ",
    " NULL ",
    "1",
    "-",
    " CASE ",
    " END ",
    " UNION ",
    " pg_sleep(1) ",
    "::",
    "X'",
    "E'",
    "\\",
    " OVER ",
    " WITH ",
    " CAST(",
    " LIKE ",
    " ESCAPE ",
    "t",
    " VALUES ",
    " DEFAULT ",
    " COLLATE ",
    "é",
    " INTERVAL ",
    " ON ",
    " SET ",
    " RETURNING ",
    " ORDER BY ",
    " DISTINCT ",
    " ALL ",
    " LATERAL ",
    " USING ",
    " TABLE ",
    "{",
    "@",
];

fn mutated(random: &mut Random, sql: &str, other: &str) -> String {
    let mut text = sql.chars().collect::<Vec<_>>();
    for _ in 0..=random.below(3) {
        let at = random.below(text.len() + 1);
        let to = (at + random.below(8)).min(text.len());
        let piece = match random.below(4) {
            0 => String::new(),
            1 => other.chars().skip(random.below(other.len())).take(random.below(20)).collect(),
            _ => PIECES[random.below(PIECES.len())].to_owned(),
        };
        let cut = if random.below(2) == 0 { at } else { to };
        text.splice(at..cut, piece.chars());
    }
    text.into_iter().collect()
}

/// sqlparser writes some nested quotes incorrectly, so statements with them cannot be compared.
fn is_comparable(sql: &str) -> bool {
    !["''", "\"\"", "\\"].iter().any(|piece| sql.contains(piece))
}

#[test]
fn no_mutation_panics_or_changes_its_meaning() {
    on_a_small_stack(|| {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut accepted = 0;
        for round in 0..6_000 {
            let (sql, other) = (ALLOWED[round % ALLOWED.len()].0, ALLOWED[random.below(ALLOWED.len())].0);
            let sql = mutated(&mut random, sql, other);
            assert!(!matches!(migration(&sql), Err((_, _, error)) if error == invalid(PANICKED)), "{sql}");
            match statement(&sql, &LIMITS) {
                Ok(translated) if is_comparable(&translated.sql) => {
                    accepted += 1;
                    assert_eq!(again(&translated.sql), translated.sql, "{sql}");
                }
                Ok(_) | Err(StorageError::Denied(_) | StorageError::Invalid(_) | StorageError::TooLarge(_)) => {}
                Err(other) => panic!("{sql}: {other}"),
            }
        }
        assert!(accepted > 300, "{accepted}");
    });
}
