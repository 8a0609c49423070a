//! A client that knows only the document sends valid and slightly invalid requests. The document must describe every answer.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};
use testing::{Answer, Client, PASSWORD, Shop, send};

use super::schema::{DATE_TIME, check, resolve};
use super::{document, operations};

/// How often every operation is called.
const ROUNDS: u32 = 60;

/// Operations that hash passwords are called in only one of this many rounds.
const SLOW: u32 = 2;

/// Headers that the host writes. No operation documents them as a client's.
const TELLTALES: [&str; 8] = ["sqlite", "panicked", "backtrace", "wasm", "insert into", "constraint", ".rs:", "/src/"];

/// A pseudo-random generator with a fixed seed (linear congruential).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    fn per_cent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Makes requests from a document.
struct Fuzzer {
    document: Value,
    dice: Dice,
    /// Texts that the shop knows, by the name of their member.
    known: BTreeMap<&'static str, Vec<String>>,
}

impl Fuzzer {
    /// A value that matches a schema, for a member of this name.
    fn valid(&mut self, name: &str, schema: &Value) -> Value {
        let schema = &resolve(&self.document, schema).clone();
        let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if let Some(choices) = schema["enum"].as_array() {
            return self.dice.one(choices).clone();
        }
        match self.dice.one(&types).as_str() {
            Some("null") => Value::Null,
            Some("integer") => self.integer(schema),
            Some("string") => self.text(name, schema).into(),
            Some("array") => {
                let (least, more) = (schema["minItems"].as_u64().unwrap_or(0), self.dice.below(3) as u64);
                (0..least + more).map(|_| self.valid(name, &schema["items"])).collect()
            }
            Some("object") => self.object(schema),
            other => panic!("no request value of type {other:?} is supported"),
        }
    }

    /// Mostly a small number, because existing ids are small.
    fn integer(&mut self, schema: &Value) -> Value {
        let (least, most) = (schema["minimum"].as_i64().unwrap_or(-5), schema["maximum"].as_i64().unwrap_or(i64::MAX));
        let small = least.max(1) + i64::try_from(self.dice.below(4)).unwrap();
        if self.dice.per_cent(85) { small.min(most).into() } else { (*self.dice.one(&[least, most])).into() }
    }

    fn text(&mut self, name: &str, schema: &Value) -> String {
        assert!(schema.get("pattern").is_none_or(|pattern| pattern == DATE_TIME));
        if let Some(known) = self.known.get(name).filter(|_| self.dice.per_cent(75)) {
            return self.dice.one(known).clone();
        }
        let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap();
        let most = usize::try_from(schema["maxLength"].as_u64().unwrap_or(300)).unwrap();
        let length = if self.dice.per_cent(90) { least + self.dice.below(12) } else { most };
        let alphabet = *self.dice.one(&["abcdefgh", "abc@.-_1", "éßжя日本🦀"]);
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length.min(most)).map(|_| *self.dice.one(&letters)).collect()
    }

    fn object(&mut self, schema: &Value) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, member) in schema["properties"].as_object().unwrap() {
            if required.contains(&name.as_str().into()) || self.dice.per_cent(50) {
                object.insert(name.clone(), self.valid(name, member));
            }
        }
        object.into()
    }

    /// Replaces one part of a value by something else.
    fn spoil(&mut self, value: &mut Value) {
        match value {
            Value::Object(members) if !members.is_empty() && self.dice.per_cent(85) => {
                let names: Vec<String> = members.keys().cloned().collect();
                let name = self.dice.one(&names);
                if self.dice.per_cent(25) {
                    members.remove(name);
                } else {
                    self.spoil(&mut members[name]);
                }
            }
            Value::Array(items) if !items.is_empty() && self.dice.per_cent(70) => {
                let at = self.dice.below(items.len());
                self.spoil(&mut items[at]);
            }
            value => {
                let long = "x".repeat(5_000);
                let odd = [json!(null), json!(true), json!(-1), json!(0), json!(1.5), json!(1e300), json!(u64::MAX)];
                let texts = ["", " ", "\0", "a\nb", "' OR 1=1 --", "\u{202e}", long.as_str()].map(Value::from);
                let nests = [json!([]), json!({}), json!([[[{}]]]), json!({ "a": { "b": [1, null] } })];
                *value = self.dice.one(&[&odd[..], &texts[..], &nests[..]].concat()).clone();
            }
        }
    }

    /// A body and its content type.
    fn body(&mut self, schema: &Value) -> (Option<&'static str>, String) {
        let mut body = self.valid("", schema);
        match self.dice.below(100) {
            0..60 => {}
            60..85 => self.spoil(&mut body),
            85..90 => return (Some("text/plain"), body.to_string()),
            90..95 => return (Some("application/json"), body.to_string().split_off(1)),
            _ => {
                let texts = ["", "[]", "null", "7", "\"text\"", "{\"a\":", "\u{feff}{}"];
                return (Some("application/json"), (*self.dice.one(&texts)).to_owned());
            }
        }
        (Some("application/json"), body.to_string())
    }

    /// A parameter's text, percent-encoded.
    fn parameter(&mut self, parameter: &Value) -> String {
        let odd = ["-1", "abc", "007", "1.0", "9223372036854775808", "%ff", "a%2Fb", "%00", "profile", "1%20"];
        if self.dice.per_cent(20) {
            return (*self.dice.one(&odd)).to_owned();
        }
        let schema = &parameter["schema"];
        match self.valid(parameter["name"].as_str().unwrap(), schema) {
            Value::String(text) => text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            other => other.to_string(),
        }
    }

    /// A request for this operation.
    fn request(&mut self, name: &str, operation: &Value, client: &Client) -> reqwest::RequestBuilder {
        let (method, pattern) = name.split_once(' ').unwrap();
        let (mut path, mut query, mut headers) = (pattern.to_owned(), String::new(), Vec::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = &resolve(&self.document, parameter).clone();
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), &self.parameter(parameter)),
                "query" if self.dice.per_cent(50) => query += &format!("{name}={}&", self.parameter(parameter)),
                "header" if self.dice.per_cent(40) => headers.push((name.to_owned(), self.header(parameter))),
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{query}");
        }
        let mut request = client.request(method.parse::<Method>().unwrap(), &path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        if let Some(schema) = schema.filter(|_| self.dice.per_cent(97)) {
            let (content_type, body) = self.body(schema);
            request =
                content_type.into_iter().fold(request.body(body), |request, kind| request.header("content-type", kind));
        }
        request
    }

    /// A valid header value.
    fn header(&mut self, parameter: &Value) -> String {
        let text = self.text(parameter["name"].as_str().unwrap(), &parameter["schema"]);
        text.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { ' ' }).collect()
    }

    /// Whether the document describes this answer of the operation.
    fn judge(&self, operation: &Value, answer: &Answer) -> Result<(), String> {
        let status = answer.status.as_str();
        if answer.status.is_server_error() {
            return Err("is a fault of the server".to_owned());
        }
        let kept = [("x-content-type-options", "nosniff"), ("cache-control", "no-")];
        if let Some((name, _)) = kept.iter().find(|(name, begins)| !answer.header(name).starts_with(begins)) {
            return Err(format!("has no good header {name}"));
        }
        if let Some(word) = TELLTALES.iter().find(|word| answer.text.to_lowercase().contains(*word)) {
            return Err(format!("tells of the inside: {word}"));
        }
        let response = operation["responses"].get(status).ok_or("has a status that is not documented")?;
        let response = resolve(&self.document, response);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let Some(value) = answer.headers.get(name).map(|value| value.to_str().unwrap()) else { continue };
            let is_number = header["schema"]["type"] == "integer";
            let value = if is_number { serde_json::from_str(value).unwrap_or_default() } else { json!(value) };
            check(&self.document, &header["schema"], &value).map_err(|why| format!("has a header {name}: {why}"))?;
        }
        match response.pointer("/content/application~1json/schema") {
            Some(_) if answer.header("content-type") != "application/json" => Err("is not JSON".to_owned()),
            Some(schema) => check(&self.document, schema, &answer.body),
            None if answer.text.is_empty() => Ok(()),
            None => Err("has a body".to_owned()),
        }
    }
}

/// Whether a request deletes a caller's account: the administrator has id 1, the user id 2.
fn ends_a_caller(request: &reqwest::Request) -> bool {
    request.method() == Method::DELETE && ["/users/1", "/users/2"].contains(&request.url().path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_the_document_gets_only_documented_answers() {
    let shop = Shop::open().await;
    let (ada, admin) = (shop.user("ada").await, shop.admin().await);
    let other = shop.anon().log_in("ada", PASSWORD).await;
    let others = [shop.anon().log_in("ada", PASSWORD).await, shop.admin().await, shop.anon()];
    let elsewhere = shop.anon().log_in("ada", PASSWORD).await.get("/auth/sessions").await;
    let elsewhere = elsewhere.data().as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    let elsewhere = elsewhere["id"].as_str().unwrap().to_owned();
    let document = document(&shop.anon()).await;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let known = BTreeMap::from([
        ("username", texts(&["ada"])),
        ("password", texts(&[PASSWORD])),
        ("current", texts(&[PASSWORD])),
        ("new", texts(&[PASSWORD])),
        ("email", texts(&["ada@example.com"])),
        ("token", texts(&[ada.access_token()])),
        ("refresh_token", texts(&[other.refresh_token()])),
        ("id", vec![elsewhere]),
        ("If-Match", texts(&["*", "\"1-pending\"", "\"1-paid\""])),
        ("If-None-Match", texts(&["*"])),
        ("Idempotency-Key", texts(&["first", "\"second\""])),
    ]);
    let clients = [shop.anon(), ada.clone(), ada, admin.clone(), admin, shop.anon().with_token("e30.e30.e30")];
    let mut fuzzer = Fuzzer { document: document.clone(), dice: Dice(0x2545_F491_4F6C_DD1D), known };
    // Operations that end the callers' sessions come last.
    let (end_own, rest): (Vec<_>, Vec<_>) =
        operations(&document).into_iter().partition(|(name, _)| name.ends_with("/logout"));
    let (end_all, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(name, _)| name == "DELETE /auth/sessions");
    let (end_others, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(name, _)| name == "PUT /auth/password");
    let mut seen: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (asked, often, clients) in [
        (&rest, ROUNDS, &clients[..]),
        (&end_others, ROUNDS, &clients),
        (&end_own, ROUNDS / 2, &clients),
        (&end_all, ROUNDS / 2, &others),
    ] {
        for round in 0..often {
            for (name, operation) in asked {
                if operation["tags"] == json!(["auth"]) && round % SLOW != 0 {
                    continue;
                }
                let client = fuzzer.dice.one(clients).clone();
                let request = fuzzer.request(name, operation, &client);
                let copy = request.try_clone().unwrap().build().unwrap();
                if ends_a_caller(&copy) {
                    continue;
                }
                let answer = send(request).await;
                if let Err(why) = fuzzer.judge(operation, &answer) {
                    panic!("the answer {} {why}\n{name}: {copy:?}\n{}", answer.status, answer.text);
                }
                seen.entry(name).or_default().insert(answer.status.as_u16());
            }
        }
    }
    for (name, statuses) in &seen {
        assert!(statuses.iter().any(|status| *status < 300), "{name} never succeeded: {statuses:?}");
        assert!(*name == "GET /health" || statuses.len() > 1, "{name} never failed: {statuses:?}");
    }
    for (name, status) in [("DELETE /users/{id}", 404), ("PUT /orders/{id}", 412), ("GET /products", 304)] {
        assert!(seen[name].contains(&status), "{name} was never answered with {status}: {:?}", seen[name]);
    }
}
