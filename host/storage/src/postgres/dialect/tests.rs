mod refusals;
mod robustness;
mod schema;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{Limits, Translated, migration, statement};
use crate::StorageError;

const LIMITS: Limits = Limits { sql_bytes: 65_536, functions: 256, parameters: 1000 };

fn translated(sql: &str) -> Translated {
    statement(sql, &LIMITS).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Translates a statement. Parses the result in PostgreSQL's dialect, and checks that writing it again changes nothing.
fn postgres(sql: &str) -> String {
    let sql = translated(sql).sql;
    assert_eq!(again(&sql), sql);
    sql
}

fn again(sql: &str) -> String {
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(1000).try_with_sql(sql).unwrap();
    let statements = parser.parse_statements().unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements[0].to_string()
}

fn refused(sql: &str) -> StorageError {
    match statement(sql, &LIMITS) {
        Ok(translated) => panic!("{sql} became {}", translated.sql),
        Err(error) => error,
    }
}

/// Statements that together use everything that is allowed.
const ALLOWED: &[(&str, &str)] = &[
    ("SELECT 1", "SELECT 1"),
    ("select A.b, \"C\", `d` from [T] a;", r#"SELECT "a"."b", "C", "d" FROM "T" AS "a""#),
    ("SELECT * FROM t -- all\nWHERE /* but */ x = 1", r#"SELECT * FROM "t" WHERE "x" = 1"#),
    ("SELECT t.* FROM t", r#"SELECT "t".* FROM "t""#),
    ("SELECT DISTINCT a AS \"x y\" FROM t", r#"SELECT DISTINCT "a" AS "x y" FROM "t""#),
    ("VALUES (1, 'a'), (2, NULL)", "VALUES (1, 'a'), (2, NULL)"),
    ("SELECT a == b, a != b, a <> b FROM t", r#"SELECT "a" = "b", "a" <> "b", "a" <> "b" FROM "t""#),
    ("SELECT X'00fF'", "SELECT '\\x00fF'::BYTEA"),
    ("SELECT 5, -7, TRUE, false", "SELECT 5, -7, true, false"),
    (
        "SELECT 1.5, .5, 1e3, 99999999999999999999",
        concat!(
            "SELECT CAST(1.5 AS DOUBLE PRECISION), CAST(.5 AS DOUBLE PRECISION), CAST(1e3 AS DOUBLE PRECISION), ",
            "CAST(99999999999999999999 AS DOUBLE PRECISION)"
        ),
    ),
    ("SELECT - -1, +x, ~x FROM t", r#"SELECT -(-1), "x", ~"x" FROM "t""#),
    ("SELECT current_user FROM t", r#"SELECT "current_user" FROM "t""#),
    ("SELECT a FROM t ORDER BY a DESC NULLS LAST, b", r#"SELECT "a" FROM "t" ORDER BY "a" DESC NULLS LAST, "b""#),
    ("SELECT a FROM t LIMIT 5, $1", r#"SELECT "a" FROM "t" LIMIT $1 OFFSET 5"#),
    ("SELECT a FROM t LIMIT $1 OFFSET $2", r#"SELECT "a" FROM "t" LIMIT $1 OFFSET $2"#),
    ("SELECT a FROM t, u", r#"SELECT "a" FROM "t", "u""#),
    ("SELECT a FROM t INNER JOIN u ON t.x = u.x", r#"SELECT "a" FROM "t" JOIN "u" ON "t"."x" = "u"."x""#),
    ("SELECT a FROM t LEFT OUTER JOIN u USING (x, y)", r#"SELECT "a" FROM "t" LEFT JOIN "u" USING("x", "y")"#),
    ("SELECT a FROM t NATURAL JOIN u CROSS JOIN v", r#"SELECT "a" FROM "t" NATURAL JOIN "u" CROSS JOIN "v""#),
    ("SELECT a FROM t JOIN u", r#"SELECT "a" FROM "t" CROSS JOIN "u""#),
    ("SELECT a FROM (t JOIN u ON t.x = u.x)", r#"SELECT "a" FROM ("t" JOIN "u" ON "t"."x" = "u"."x")"#),
    ("SELECT a FROM (SELECT 1 AS a)", r#"SELECT "a" FROM (SELECT 1 AS "a") AS "subquery 1""#),
    ("SELECT a FROM (SELECT 1 AS a) b", r#"SELECT "a" FROM (SELECT 1 AS "a") AS "b""#),
    ("SELECT a FROM t GROUP BY a HAVING count(*) > 1", r#"SELECT "a" FROM "t" GROUP BY "a" HAVING count(*) > 1"#),
    (
        "SELECT a FROM t UNION ALL SELECT b FROM u ORDER BY 1",
        r#"SELECT "a" FROM "t" UNION ALL SELECT "b" FROM "u" ORDER BY 1"#,
    ),
    ("SELECT 1 UNION SELECT 2 INTERSECT SELECT 3", "(SELECT 1 UNION SELECT 2) INTERSECT SELECT 3"),
    ("SELECT 1 INTERSECT SELECT 2 EXCEPT SELECT 3", "SELECT 1 INTERSECT SELECT 2 EXCEPT SELECT 3"),
    ("WITH a AS (SELECT 1 AS x) SELECT x FROM a", r#"WITH "a" AS (SELECT 1 AS "x") SELECT "x" FROM "a""#),
    (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
        r#"WITH RECURSIVE "n" ("i") AS (SELECT 1 UNION ALL SELECT "i" + 1 FROM "n" WHERE "i" < 9) SELECT "i" FROM "n""#,
    ),
    ("SELECT a FROM t WHERE EXISTS (SELECT 1)", r#"SELECT "a" FROM "t" WHERE EXISTS (SELECT 1)"#),
    ("SELECT a FROM t WHERE NOT EXISTS (SELECT 1)", r#"SELECT "a" FROM "t" WHERE NOT EXISTS (SELECT 1)"#),
    ("SELECT a FROM t WHERE a NOT IN (1, $2)", r#"SELECT "a" FROM "t" WHERE "a" NOT IN (1, $2)"#),
    ("SELECT a FROM t WHERE (a, b) IN (SELECT 1, 2)", r#"SELECT "a" FROM "t" WHERE ("a", "b") IN (SELECT 1, 2)"#),
    ("SELECT a FROM t WHERE (a, b) < (1, $1)", r#"SELECT "a" FROM "t" WHERE ("a", "b") < (1, $1)"#),
    ("SELECT a FROM t WHERE a BETWEEN 1 AND 2 + 3", r#"SELECT "a" FROM "t" WHERE "a" BETWEEN 1 AND (2 + 3)"#),
    ("SELECT a FROM t WHERE a IS NOT NULL", r#"SELECT "a" FROM "t" WHERE "a" IS NOT NULL"#),
    ("SELECT a FROM t WHERE a NOTNULL", r#"SELECT "a" FROM "t" WHERE "a" IS NOT NULL"#),
    ("SELECT a IS DISTINCT FROM b FROM t", r#"SELECT "a" IS DISTINCT FROM "b" FROM "t""#),
    ("SELECT CASE a WHEN 1 THEN 'x' ELSE b END FROM t", r#"SELECT CASE "a" WHEN 1 THEN 'x' ELSE "b" END FROM "t""#),
    ("SELECT CASE WHEN a > 1 THEN 2 END FROM t", r#"SELECT CASE WHEN ("a" > 1) THEN 2 END FROM "t""#),
    (
        "SELECT CAST(a AS INTEGER), CAST(a AS REAL), CAST(a AS BLOB), CAST(a AS TEXT) FROM t",
        r#"SELECT comptoir_integer("a"), CAST("a" AS DOUBLE PRECISION), CAST("a" AS BYTEA), CAST("a" AS TEXT) FROM "t""#,
    ),
    ("SELECT a COLLATE BINARY FROM t", r#"SELECT "a" COLLATE "C" FROM "t""#),
    ("SELECT a FROM t WHERE a LIKE $1", r#"SELECT "a" FROM "t" WHERE "a" ILIKE $1 ESCAPE ''"#),
    ("SELECT a NOT LIKE 'x!_%' ESCAPE '!' FROM t", r#"SELECT "a" NOT ILIKE 'x!_%' ESCAPE '!' FROM "t""#),
    (
        "SELECT lower(a || b), upper(c) FROM t",
        r#"SELECT lower((comptoir_join(CAST("a" AS TEXT), CAST("b" AS TEXT))) COLLATE "C"), upper("c" COLLATE "C") FROM "t""#,
    ),
    ("SELECT IFNULL(a, 0), ceil(b), Floor(b) FROM t", r#"SELECT coalesce("a", 0), CEIL("b"), FLOOR("b") FROM "t""#),
    (
        "SELECT count(DISTINCT a) FILTER (WHERE a > 1) FROM t",
        r#"SELECT count(DISTINCT "a") FILTER (WHERE "a" > 1) FROM "t""#,
    ),
    (
        "SELECT sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        r#"SELECT comptoir_sum(sum("a") OVER (PARTITION BY "b" ORDER BY "c" ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) FROM "t""#,
    ),
    ("SELECT sum(a) / avg(b) FROM t", r#"SELECT comptoir_sum(sum("a")) / CAST(avg("b") AS DOUBLE PRECISION) FROM "t""#),
    (
        "SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY a)",
        r#"SELECT rank() OVER "w" FROM "t" WINDOW "w" AS (ORDER BY "a")"#,
    ),
    ("INSERT INTO t DEFAULT VALUES", r#"INSERT INTO "t" DEFAULT VALUES"#),
    (
        "INSERT INTO t AS x (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE x.b < 1 RETURNING *",
        concat!(
            r#"INSERT INTO "t" AS "x" ("a", "b") VALUES ($1, $2) ON CONFLICT("a") DO UPDATE SET "b" = "excluded"."b""#,
            r#" WHERE "x"."b" < 1 RETURNING *"#
        ),
    ),
    (
        "INSERT INTO t SELECT a FROM u WHERE b ON CONFLICT DO NOTHING",
        r#"INSERT INTO "t" SELECT "a" FROM "u" WHERE "b" ON CONFLICT DO NOTHING"#,
    ),
    (
        "UPDATE t SET a = a + 1, (b, c) = (1, 2) WHERE d",
        r#"UPDATE "t" SET "a" = "a" + 1, ("b", "c") = (1, 2) WHERE "d""#,
    ),
    (
        "UPDATE t SET a = u.a FROM u WHERE t.b = u.b RETURNING a",
        r#"UPDATE "t" SET "a" = "u"."a" FROM "u" WHERE "t"."b" = "u"."b" RETURNING "a""#,
    ),
    (
        "DELETE FROM t AS x WHERE x.a = 1 RETURNING a, b AS c",
        r#"DELETE FROM "t" AS "x" WHERE "x"."a" = 1 RETURNING "a", "b" AS "c""#,
    ),
    (
        "WITH a AS (SELECT 1 AS x) DELETE FROM t WHERE y IN (SELECT x FROM a)",
        r#"WITH "a" AS (SELECT 1 AS "x") DELETE FROM "t" WHERE "y" IN (SELECT "x" FROM "a")"#,
    ),
    (
        "SELECT a || 1 || 'x' FROM t",
        r#"SELECT comptoir_join(comptoir_join(CAST("a" AS TEXT), CAST(1 AS TEXT)), CAST('x' AS TEXT)) FROM "t""#,
    ),
    ("SELECT a IS NOT TRUE FROM t NATURAL LEFT JOIN u", r#"SELECT "a" IS NOT TRUE FROM "t" NATURAL LEFT JOIN "u""#),
    ("SELECT a << 1 | b & 2 FROM t", r#"SELECT (("a" << 1) | "b") & 2 FROM "t""#),
];

#[test]
fn everything_allowed_is_translated() {
    for (sql, expected) in ALLOWED {
        assert_eq!(postgres(sql), *expected, "{sql}");
    }
}

#[test]
fn operators_bind_as_in_sqlite() {
    for (sql, expected) in [
        ("SELECT a || b * c FROM t", r#"SELECT (comptoir_join(CAST("a" AS TEXT), CAST("b" AS TEXT))) * "c" FROM "t""#),
        ("SELECT -a || b FROM t", r#"SELECT comptoir_join(CAST(-"a" AS TEXT), CAST("b" AS TEXT)) FROM "t""#),
        ("SELECT NOT a = b FROM t", r#"SELECT NOT ("a" = "b") FROM "t""#),
        ("SELECT a = b < c FROM t", r#"SELECT "a" = ("b" < "c") FROM "t""#),
        ("SELECT a < b IS NULL FROM t", r#"SELECT ("a" < "b") IS NULL FROM "t""#),
        ("SELECT a & 1 = 1 FROM t", r#"SELECT ("a" & 1) = 1 FROM "t""#),
        ("SELECT 1 - 2 - 3 + 4", "SELECT (1 - 2 - 3) + 4"),
        ("SELECT 1 - (2 - 3)", "SELECT 1 - (2 - 3)"),
        ("SELECT a OR b AND NOT c FROM t", r#"SELECT "a" OR ("b" AND (NOT "c")) FROM "t""#),
    ] {
        assert_eq!(postgres(sql), expected, "{sql}");
    }
}

#[test]
fn a_null_test_of_a_parameter_comes_after_a_use_that_tells_its_type() {
    let sql = "SELECT a FROM t WHERE $1 IS NULL OR a > $1";
    assert_eq!(postgres(sql), r#"SELECT "a" FROM "t" WHERE ("a" > $1) OR ($1 IS NULL)"#);
}

#[test]
fn a_translation_knows_its_kind_and_number_of_parameters() {
    let told = |sql: &str| {
        let Translated { parameters, writes, gives_rows, .. } = translated(sql);
        (parameters, writes, gives_rows)
    };
    assert_eq!(told("SELECT $3, $1 FROM t"), (3, false, true));
    assert_eq!(told("VALUES (1)"), (0, false, true));
    assert_eq!(told("UPDATE t SET a = $1"), (1, true, false));
    assert_eq!(told("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"), (0, true, false));
    assert_eq!(told("DELETE FROM t WHERE a = $1000 RETURNING a"), (1000, true, true));
}

#[test]
fn quotes_in_names_and_texts_stay_inside_them() {
    assert_eq!(translated("SELECT 'it''s', '\\', 'a''''b'").sql, "SELECT 'it''s', '\\', 'a''''b'");
    assert_eq!(translated("SELECT \"a\"\"b\" FROM `x\"y`").sql, r#"SELECT "a""b" FROM "x""y""#);
    assert_eq!(translated("SELECT [a\"; DROP TABLE t; --] FROM t").sql, r#"SELECT "a""; DROP TABLE t; --" FROM "t""#);
    assert_eq!(translated("SELECT 'a -- b /* c */ ; d'").sql, "SELECT 'a -- b /* c */ ; d'");
}

#[test]
fn prefixes_of_postgresql_literals_are_only_names() {
    assert_eq!(postgres("SELECT U&'a' FROM t"), r#"SELECT "u" & 'a' FROM "t""#);
    assert_eq!(postgres("SELECT array[1] FROM t"), r#"SELECT "array" AS "1" FROM "t""#);
}

#[test]
fn nothing_of_a_comment_survives() {
    let sql = "SELECT /*+ hint */ a /*! x */ FROM t -- end";
    assert_eq!(postgres(sql), r#"SELECT "a" FROM "t""#);
}
