//! A component calls its imports with any values. The host answers, does not panic, and still serves others.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::process::Process;
use testing::{component, databases};

use super::{SUSPECT, bytes, runner, text};

/// Lengths, times and counts at the limits.
const NUMBERS: [u64; 10] = [0, 1, 65_536, 65_537, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 53, i64::MAX as u64, u64::MAX];

/// Expensive or invalid password hashes.
const HASHES: [&str; 9] = [
    "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$c29tZWhhc2g",
    "$argon2id$v=19$m=19456,t=4294967295,p=1$c29tZXNhbHQ$c29tZWhhc2g",
    "$argon2id$v=19$m=8,t=1,p=16777215$c29tZXNhbHQ$c29tZWhhc2g",
    "$argon2i$v=16$m=0,t=0,p=0$$",
    "scrypt:1073741824:8:1$salt$00",
    "scrypt:3:0:0$salt$zz",
    "scrypt:32768:1073741824:1073741824$salt$00",
    "pbkdf2:sha256:4294967295$salt$00",
    "pbkdf2:md5:0$$",
];

const STATEMENTS: [&str; 20] = [
    "SELECT $1",
    "SELECT $1, $2, $3, typeof($4)",
    "SELECT * FROM items WHERE text = $1",
    "SELECT text COLLATE nocase, sum(amount) FROM items GROUP BY 1 HAVING sum(amount) > $1",
    "INSERT INTO items (text, amount) VALUES ($1, $2)",
    "INSERT INTO items (text, amount) VALUES ($1, $2) RETURNING *",
    "INSERT OR ROLLBACK INTO items (text, amount) VALUES ($1, -1)",
    "UPDATE items SET text = $1 WHERE amount < $2",
    "DELETE FROM items WHERE text LIKE $1",
    "SELECT printf($1, $2, $3)",
    "SELECT substr($1, $2, $3), instr($1, $2), hex($1), quote($2), unicode($1), char($2, $3)",
    "SELECT abs($1), round($1, $2), zeroblob($1), $1 << $2, $1 / $2, $1 % $2, CAST($1 AS INTEGER)",
    "SELECT json_extract($1, $2), json_valid($1), json_group_array($1)",
    "SELECT $1 GLOB $2, $1 LIKE $2 ESCAPE $3, $1 REGEXP $2, $1 MATCH $2",
    "WITH RECURSIVE n (i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n LIMIT $2) SELECT max(i) FROM n",
    "SELECT date($1, $2), julianday($1), strftime($1, $2)",
    "SELECT * FROM json_each($1), json_tree($2)",
    "PRAGMA table_info(items)",
    "SELECT 1; SELECT 2",
    "ROLLBACK",
];

/// Words of SQL for random statements.
const SQL: [&str; 24] = [
    "SELECT",
    "FROM",
    "items",
    "WHERE",
    "text",
    "amount",
    "(",
    ")",
    ",",
    "*",
    "$1",
    "?",
    ":a",
    "'",
    "\"",
    "--",
    "/*",
    ";",
    "INSERT INTO",
    "VALUES",
    "NULL",
    "0x",
    "1e999",
    "x'00'",
];

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![3 => select(&NUMBERS[..]), 2 => 0..100_000_u64, 1 => any::<u64>()]
}

fn sql() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(select(&SQL[..]), 1..12).prop_map(|words| words.join(" "));
    prop_oneof![8 => select(&STATEMENTS[..]).prop_map(str::to_owned), 3 => words, 1 => text()]
}

fn parameter() -> impl Strategy<Value = Value> {
    let reals = prop_oneof![any::<f64>(), select(vec![f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE])];
    prop_oneof![
        Just(json!({ "null": null })),
        any::<i64>().prop_map(|integer| json!({ "integer": integer })),
        reals.prop_map(|real| json!({ "real": real.to_bits() })),
        text().prop_map(|text| json!({ "text": text })),
        bytes().prop_map(|bytes| json!({ "blob": bytes })),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let names =
        ["x-any", "content-length", "content-type", "transfer-encoding", "host", "set-cookie", "etag", "vary", ""];
    let name = prop_oneof![4 => select(names.to_vec()).prop_map(str::to_owned), 1 => text()];
    let value = prop_oneof![bytes(), text().prop_map(String::into_bytes), Just(b"17".to_vec()), Just(b"*".to_vec())];
    prop::collection::vec((name, value), 0..4)
}

/// Calls of storage. Those in a transaction may name one that never began.
fn storage() -> impl Strategy<Value = Value> {
    let call = || (sql(), prop::collection::vec(parameter(), 0..5));
    prop_oneof![
        call().prop_map(|call| json!({ "query": call })),
        call().prop_map(|call| json!({ "execute": call })),
        Just(json!({ "begin": null })),
        (0..2_u8, call()).prop_map(|(place, (sql, values))| json!({ "query-in": [place, sql, values] })),
        (0..2_u8, call()).prop_map(|(place, (sql, values))| json!({ "execute-in": [place, sql, values] })),
        (0..2_u8).prop_map(|place| json!({ "commit": place })),
        (0..2_u8).prop_map(|place| json!({ "drop": place })),
    ]
}

fn identity() -> impl Strategy<Value = Value> {
    let hash = prop_oneof![select(&HASHES[..]).prop_map(str::to_owned), text()];
    prop_oneof![
        (text(), text(), text()).prop_map(|claims| json!({ "issue": claims })),
        text().prop_map(|session| json!({ "revoke": session })),
        text().prop_map(|token| json!({ "verify-token": token })),
        text().prop_map(|password| json!({ "hash": password })),
        (any::<u8>(), text()).prop_map(|told| json!({ "tell": told })),
        (text(), prop::option::of(hash)).prop_map(|values| json!({ "verify-password": values })),
    ]
}

fn wasi() -> impl Strategy<Value = Value> {
    let moments = prop::collection::vec(number(), 0..4);
    prop_oneof![
        number().prop_map(|length| json!({ "random": length })),
        number().prop_map(|length| json!({ "insecure-random": length })),
        Just(json!({ "seed": null })),
        number().prop_map(|nanoseconds| json!({ "clocks": nanoseconds })),
        // A pollable that is ready at once. Without it a poll may wait until the request's time limit.
        moments.prop_map(|moments| {
            let moments: Vec<u64> = [vec![0], moments].concat();
            json!({ "poll": moments })
        }),
        Just(json!({ "poll": [] })),
        bytes().prop_map(|bytes| json!({ "print": bytes })),
        any::<bool>().prop_map(|well| json!({ "exit": well })),
    ]
}

fn http() -> impl Strategy<Value = Value> {
    let name = || prop_oneof![select(&SUSPECT[..]).prop_map(str::to_owned), "[a-z-]{1,8}"];
    let changes = prop_oneof![
        (name(), bytes()).prop_map(|change| json!({ "append": change })),
        (name(), prop::collection::vec(bytes(), 0..3)).prop_map(|change| json!({ "set": change })),
        name().prop_map(|name| json!({ "delete": name })),
        name().prop_map(|name| json!({ "get": name })),
    ];
    let some = |words: &'static [&'static str]| prop_oneof![4 => select(words).prop_map(str::to_owned), 1 => text()];
    let to = (
        some(&["GET", "POST", "CONNECT", "get", "TRACE"]),
        some(&["http", "https", "file"]),
        some(&["caller.internal", "sibling.internal", "sibling.internal:80", "127.0.0.1:1", "[::1]", ""]),
        some(&["/", "/sibling/x", "/caller/x", "*", "http://sibling.internal/", "//", "/?", "#"]),
    );
    let call = (to, headers(), bytes(), number()).prop_map(|((method, scheme, authority, path), headers, body, timeout)| {
        json!({ "call": { "method": method, "scheme": scheme, "authority": authority, "path": path, "headers": headers,
                          "body": body, "timeout": timeout } })
    });
    let status = prop_oneof![select(vec![100, 101, 199, 200, 204, 206, 304, 418, 599, 600, 999]), any::<u16>()];
    let answer = (status, headers(), bytes()).prop_map(
        |(status, headers, body)| json!({ "answer": { "status": status, "headers": headers, "body": body } }),
    );
    prop_oneof![
        headers().prop_map(|entries| json!({ "fields": entries })),
        prop::collection::vec(changes, 0..8).prop_map(|changes| json!({ "change-fields": changes })),
        call,
        answer,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(prop_oneof![4 => storage(), 2 => identity(), 2 => wasi(), 3 => http()], 1..8)
}

/// A host in its own process, with the calling component, which has a table, and a sibling.
struct Stand {
    process: Process,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Stand {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = "items (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, amount REAL CHECK (amount >= 0))";
        if !databases::in_postgres() {
            databases::make_table(folder.path(), "caller", table);
        }
        let service = |name: &str, file: &str, more: &str| {
            let file = component(file).display().to_string();
            format!("[services.{name}]\ncomponent = {file:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\n{more}\n")
        };
        let may = r#"grants = ["storage", "tokens", "token-verifier", "passwords", "audit"]
            calls = ["caller", "sibling"]
            limits = { cpu = "150ms", time = "1s", memory = "64 MiB" }"#;
        let services = service("caller", "guest_caller", may) + &service("sibling", "guest_plain_p2", "");
        let process = Process::serve(folder.path(), &services).await;
        if databases::in_postgres() {
            databases::make_table(folder.path(), "caller", table);
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, http, _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.gateway)
    }

    async fn holds(&self, steps: &[Value]) -> Result<(), TestCaseError> {
        let answer = self.http.post(self.url("/caller/x")).json(steps).send().await;
        let answer = answer.map_err(|error| TestCaseError::fail(format!("no answer: {error:?}")))?;
        let status = answer.status().as_u16();
        // The component's own answer may have any status, and may be incomplete because its length is wrong.
        let answers_itself = steps.iter().any(|step| step.get("answer").is_some());
        let body: Value = match answer.text().await {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        let told = status == 200 && body.as_array().is_some_and(|told| told.len() == steps.len());
        let refused = [500, 503, 504].contains(&status) && body["error"]["code"].is_string();
        prop_assert!(told || refused || answers_itself, "{} {}", status, body);
        let sibling = self.http.get(self.url("/sibling/x")).send().await;
        prop_assert_eq!(sibling.map(|answer| answer.status().as_u16()).ok(), Some(200), "the sibling");
        Ok(())
    }
}

#[test]
fn calls_with_any_values_are_answered_and_others_are_served() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let stand = runtime.block_on(Stand::open());
    let held = runner(64).run(&steps(), |steps| runtime.block_on(stand.holds(&steps)));
    let said = stand.process.said();
    held.unwrap_or_else(|failed| panic!("{failed}\n{said}"));
    assert!(!said.contains("panicked"), "{said}");
}
