use super::{LIMITS, StorageError, refused, statement};

fn denied(sql: &str) -> String {
    match refused(sql) {
        StorageError::Denied(text) => text,
        other => panic!("{sql}: {other}"),
    }
}

fn invalid(sql: &str) -> String {
    match refused(sql) {
        StorageError::Invalid(text) => text,
        other => panic!("{sql}: {other}"),
    }
}

fn too_large(sql: &str) -> String {
    match refused(sql) {
        StorageError::TooLarge(text) => text,
        other => panic!("{sql}: {other}"),
    }
}

#[test]
fn an_unlisted_function_is_refused_by_name() {
    assert_eq!(denied("SELECT PG_sleep(10)"), "the function pg_sleep");
    assert_eq!(denied("SELECT a FROM t ORDER BY set_config('a', 'b', 0)"), "the function set_config");
    assert_eq!(denied("SELECT pg_catalog.count(*) FROM t"), "the function pg_catalog.count");
    assert_eq!(denied("SELECT \"lower\"(a) FROM t"), "the function \"lower\"");
    assert_eq!(denied("SELECT CURRENT_TIMESTAMP"), "the function current_timestamp");
    assert_eq!(denied("SELECT localtime"), "the function localtime");
    assert_eq!(denied("INSERT INTO t VALUES (1) RETURNING version()"), "the function version");
    assert_eq!(denied("UPDATE t SET a = lo_import('x')"), "the function lo_import");
}

#[test]
fn a_function_that_only_sqlite_has_is_refused() {
    for sql in ["SELECT substr(a, 1) FROM t", "SELECT round(a) FROM t", "SELECT hex(a) FROM t"] {
        assert!(invalid(sql).contains("does not work on PostgreSQL as on SQLite"), "{sql}");
    }
    assert!(invalid("SELECT max(1, 2)").contains("use CASE"));
}

#[test]
fn a_table_of_the_system_is_refused_by_name() {
    assert_eq!(denied("SELECT 1 FROM pg_class"), "the table pg_class");
    assert_eq!(denied("SELECT 1 FROM \"PG_class\""), "the table PG_class");
    assert_eq!(denied("SELECT 1 FROM sqlite_master"), "the table sqlite_master");
    assert_eq!(denied("SELECT 1 FROM information_schema.tables"), "the table information_schema.tables");
    assert_eq!(denied("SELECT 1 FROM other.t"), "the table other.t");
    assert_eq!(denied("DELETE FROM pg_authid"), "the table pg_authid");
    assert_eq!(denied("INSERT INTO pg_class VALUES (1)"), "the table pg_class");
    assert_eq!(denied("SELECT 1 WHERE 1 IN (SELECT 1 FROM pg_class)"), "the table pg_class");
    assert_eq!(denied("WITH pg_x AS (SELECT 1) SELECT 1"), "the table pg_x");
}

#[test]
fn a_column_of_the_system_is_refused_by_name() {
    assert_eq!(denied("SELECT t.ctid FROM t"), "the column ctid");
    assert_eq!(denied("SELECT XMIN FROM t"), "the column xmin");
    assert_eq!(denied("UPDATE t SET tableoid = 1"), "the column tableoid");
    assert!(invalid("SELECT rowid FROM t").contains("INTEGER PRIMARY KEY"));
}

#[test]
fn a_table_cannot_be_used_as_a_row() {
    assert_eq!(invalid("SELECT x FROM t AS x"), "x is a table but used as a column: write x.x");
    assert_eq!(invalid("SELECT count(t) FROM t"), "t is a table but used as a column: write t.t");
}

#[test]
fn a_column_of_a_table_cannot_call_a_function() {
    for column in ["row_to_json", "TO_JSONB", "pg_typeof", "record_out", "\"json_agg\""] {
        assert!(invalid(&format!("SELECT t.{column} FROM t")).contains("a function"), "{column}");
    }
}

#[test]
fn other_kinds_of_statements_are_refused_by_name() {
    for kind in ["PRAGMA", "ATTACH", "BEGIN", "COMMIT", "SAVEPOINT", "VACUUM", "EXPLAIN", "REINDEX"] {
        assert_eq!(denied(&format!("{kind} x")), kind);
    }
    for kind in ["SET", "COPY", "DO", "CALL", "GRANT", "LOCK", "LISTEN"] {
        assert_eq!(invalid(&format!("{kind} x")), format!("no data statement begins with {kind:?}"));
    }
    assert_eq!(denied("DROP TABLE t"), "DROP outside of a migration");
    assert_eq!(denied("SELECT 1 INTO t"), "SELECT INTO");
}

#[test]
fn exactly_one_statement_is_accepted() {
    assert_eq!(invalid(""), "no statement");
    assert_eq!(invalid(" ; -- nothing"), "no statement");
    assert_eq!(invalid("SELECT 1; SELECT 2"), "more than one statement");
    assert!(statement("; SELECT 1 ;;", &LIMITS).is_ok());
}

#[test]
fn replace_is_refused_with_advice() {
    for sql in
        ["INSERT OR REPLACE INTO t VALUES (1)", "INSERT OR IGNORE INTO t VALUES (1)", "REPLACE INTO t VALUES (1)"]
    {
        assert!(invalid(sql).ends_with("write INSERT … ON CONFLICT … DO UPDATE or DO NOTHING"), "{sql}");
    }
}

#[test]
fn features_of_only_one_database_are_refused() {
    for sql in [
        "SELECT a::text FROM t",
        "SELECT a -> 'b' FROM t",
        "SELECT a ->> 'b' FROM t",
        "SELECT a @> b FROM t",
        "SELECT a # b FROM t",
        "SELECT a ^ b FROM t",
        "SELECT a ~ 'b' FROM t",
        "SELECT @a",
        "SELECT E'a\\'b'",
        "SELECT N'a'",
        "SELECT $$a$$",
        "SELECT $x$a$x$",
        "SELECT DATE '2020-01-01'",
        "SELECT INTERVAL '1 day'",
        "SELECT 0x10",
        "SELECT 0xabc + 1",
        "SELECT X'0'",
        "SELECT X'zz'",
        "SELECT ?",
        "SELECT :a",
        "SELECT $a",
        "SELECT $01",
        "SELECT $0",
        "SELECT a GLOB 'x' FROM t",
        "SELECT a REGEXP 'x' FROM t",
        "SELECT a MATCH 'x' FROM t",
        "SELECT a ILIKE 'x' FROM t",
        "SELECT a SIMILAR TO 'x' FROM t",
        "SELECT a LIKE 'x' ESCAPE 'ab' FROM t",
        "SELECT a COLLATE NOCASE FROM t",
        "SELECT a COLLATE \"de_DE\" FROM t",
        "SELECT CAST(a AS NUMERIC) FROM t",
        "SELECT CAST(a AS regclass) FROM t",
        "SELECT TRY_CAST(a AS INTEGER) FROM t",
        "SELECT a FROM t FOR UPDATE",
        "SELECT DISTINCT ON (a) a FROM t",
        "SELECT a FROM t FETCH FIRST 1 ROWS ONLY",
        "SELECT a FROM t TABLESAMPLE SYSTEM (1)",
        "SELECT a = ANY (SELECT 1) FROM t",
        "SELECT a IN () FROM t",
        "SELECT (1, 2)",
        "SELECT a FROM t GROUP BY ROLLUP (a)",
        "SELECT 1 AS 'x'",
        "SELECT a.b.c FROM t",
        "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
        "SELECT a FROM t, LATERAL (SELECT 1)",
        "(SELECT 1)",
        "(SELECT 1) UNION SELECT 2",
        "INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1",
        "INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING",
        "UPDATE t SET a = 1 LIMIT 1",
        "UPDATE OR IGNORE t SET a = 1",
        "DELETE FROM t USING u",
        "DELETE FROM t ORDER BY a LIMIT 1",
        "SELECT count(*) WITHIN GROUP (ORDER BY a) FROM t",
        "SELECT 'a\0b'",
        "SELECT 'open",
        "SELECT /* open",
        "SELEC",
        "SELECT",
        "SELECT 1 1",
        "SELECT \"\" FROM t",
        "SELECT a FROM t WHERE a OPERATOR(pg_catalog.+) 1",
        "SELECT a AT TIME ZONE 'utc' FROM t",
        "SELECT a IS NORMALIZED FROM t",
        "TABLE t",
    ] {
        match refused(sql) {
            StorageError::Invalid(_) => {}
            StorageError::Denied(text) if text == "SELEC" || text.starts_with("the function ") => {}
            other => panic!("{sql}: {other}"),
        }
    }
}

#[test]
fn a_function_in_place_of_a_table_is_refused() {
    for sql in
        ["SELECT 1 FROM generate_series(1, 9)", "SELECT 1 FROM json_each('[]')", "SELECT 1 FROM t, pg_ls_dir('.')"]
    {
        assert!(matches!(refused(sql), StorageError::Denied(_)), "{sql}");
    }
    assert!(matches!(refused("SELECT 1 FROM unnest(1)"), StorageError::Invalid(_) | StorageError::Denied(_)));
}

#[test]
fn too_much_is_too_large() {
    assert_eq!(too_large(&" ".repeat(65_537)), "a statement of more than 65536 bytes");
    assert_eq!(too_large("SELECT $1001"), "more than 1000 parameters");
    assert_eq!(too_large("SELECT $99999999999999999999999"), "more than 1000 parameters");
    let likes = |many: usize| format!("SELECT {}", vec!["a LIKE 'x'"; many].join(", "));
    assert!(statement(&likes(8), &LIMITS).is_ok());
    assert_eq!(too_large(&likes(9)), "more than 8 uses of LIKE");
    let calls = |many: usize| format!("SELECT {}", vec!["abs(1)"; many].join(", "));
    assert!(statement(&calls(256), &LIMITS).is_ok());
    assert_eq!(too_large(&calls(257)), "more than 256 function calls");
}

#[test]
fn a_name_that_postgresql_would_truncate_is_refused() {
    assert!(statement(&format!("SELECT {} FROM t", "a".repeat(63)), &LIMITS).is_ok());
    assert!(invalid(&format!("SELECT {} FROM t", "a".repeat(64))).contains("more than 63 bytes"));
}
