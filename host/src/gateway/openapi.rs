//! `GET /openapi.json` of the gateway: its routes, in OpenAPI 3.1.
//!
//! The document is made from the gateway's route table. Each route has its path parameters, its access, the host's own errors
//! from the table in `error`, and whatever its component documents. It has no internal routes, because clients cannot reach them,
//! and no `HEAD`, because `GET` implies it.
//!
//! Tools read it: each operation has an id that no other operation has, a summary, and a success, also if its component documents
//! nothing. `redocly lint` and openapi-spec-validator check it (`just test-api`).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::body::{Body, full};
use crate::deploy::{Codes, Deployment, Operation, Served};
use crate::error::Error;
use crate::route::{Access, Route};

/// The tag of the gateway's own operations.
const OWN_TAG: &str = "gateway";

/// The gateway's own paths in the document.
const OWN_PATHS: [&str; 2] = ["/health", "/openapi.json"];

/// The description of a response that a service does not document.
const NOT_DOCUMENTED: &str = "The service does not document it.";

/// The document of a deployment, or 304 if the client has it already.
pub(super) fn answer(deployment: &Deployment, headers: &HeaderMap) -> Response<Body> {
    let document = deployment.document(|deployment| Bytes::from(make(deployment).to_string()));
    let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| document.is_named_by(tags));
    let mut response = Response::new(full(if is_known { Bytes::new() } else { document.text.clone() }));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().insert(ETAG, document.tag.clone());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn make(deployment: &Deployment) -> Value {
    let hosts = host_codes();
    let mut ids = Ids::default();
    let mut paths = own_paths();
    let mut schemas = Map::from_iter([("Error".to_owned(), error_schema())]);
    let mut revisions = Map::new();
    let mut tags = vec![json!({ "name": OWN_TAG, "description": "The host itself" })];
    for (name, served) in deployment.services() {
        schemas.extend(served.documentation.schemas().clone());
        revisions.insert(name.to_string(), String::from_utf8_lossy(served.revision.label().as_bytes()).into());
        tags.push(tag(name, served));
    }
    // OpenAPI allows an operation id only once, so a mount with a slash is not listed beside the mount.
    for route in deployment.gateway().iter().filter(|route| !route.is_mount_with_slash()) {
        // A service without a revision has only catch-all routes, which answer 503.
        let Some(Served { documentation, .. }) = deployment.services().get(&route.service) else { continue };
        // No service answers the gateway's own paths.
        if OWN_PATHS.contains(&&*route.pattern) {
            continue;
        }
        for method in methods(route) {
            let name = format!("{method} {}", route.guest_pattern());
            let documented = documentation.operation(&name);
            // A component that documents its operations leaves out its pages.
            if documented.is_some() || documentation.is_empty() {
                let item = paths.entry(template(&route.pattern)).or_insert_with(|| json!({}));
                item[method.as_str().to_lowercase()] = operation(route, &method, documented, &hosts, &mut ids);
            }
        }
    }
    let mut responses: Map<String, Value> =
        hosts.iter().map(|(status, codes)| (status.to_string(), refusal(*status, codes))).collect();
    responses
        .insert("304".to_owned(), json!({ "description": "The client has it already: If-None-Match names its ETag." }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Comptoir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every answer names its request (x-request-id) and the revision that made it (x-comptoir-revision). \
                GET answers HEAD too, every path OPTIONS; another method is answered with 405 and Allow.",
            "x-comptoir": { "revisions": revisions },
        },
        // The host that gave the document. It knows no other name of itself.
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": { "bearerAuth": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "parameters": { "IfNoneMatch": {
                "name": "If-None-Match",
                "in": "header",
                "description": "The ETag of the client's copy.",
                "schema": { "type": "string" },
            } },
            "responses": responses,
            "schemas": schemas,
        },
    })
}

/// The codes of the host's own errors, and what each means.
fn host_codes() -> Codes {
    let mut codes = Codes::new();
    for error in Error::each() {
        let row = error.row();
        let meaning = match error {
            Error::MethodNotAllowed { .. } => "The path has other methods, which Allow names".to_owned(),
            Error::BodyTooLarge(_) => "The body is larger than the service takes".to_owned(),
            _ => row.message,
        };
        codes.entry(row.status.as_u16()).or_default().insert(row.code.to_owned(), format!("{meaning}."));
    }
    codes
}

/// The methods of a route in the document. A route for every method gets those that OpenAPI and the host both know.
fn methods(route: &Route) -> Vec<Method> {
    let all = || vec![Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    route.method.clone().map_or_else(all, |method| vec![method])
}

fn operation(route: &Route, method: &Method, documented: Option<&Operation>, hosts: &Codes, ids: &mut Ids) -> Value {
    let Operation { mut object, errors } = documented.cloned().unwrap_or_default();
    let id = ids.of(route, method, object.get("operationId"));
    object.insert("operationId".to_owned(), id.into());
    if object.get("summary").and_then(Value::as_str).is_none_or(str::is_empty) {
        object.insert("summary".to_owned(), format!("Answered by {}", route.service).into());
    }
    object.insert("tags".to_owned(), json!([&*route.service]));
    object.insert("security".to_owned(), security(route.access));
    let parameters = parameters(&template(&route.pattern), method, object.remove("parameters"));
    if !parameters.is_empty() {
        object.insert("parameters".to_owned(), parameters.into());
    }
    let mut responses = match object.remove("responses") {
        Some(Value::Object(responses)) => responses,
        _ => Map::from_iter([("default".to_owned(), json!({ "description": NOT_DOCUMENTED }))]),
    };
    if !responses.keys().any(|status| is_success(status)) {
        responses.insert("2XX".to_owned(), json!({ "description": NOT_DOCUMENTED }));
    }
    for (status, own) in errors {
        let mut codes = hosts.get(&status).filter(|_| is_possible(status, route)).cloned().unwrap_or_default();
        codes.extend(own);
        responses.insert(status.to_string(), refusal(status, &codes));
    }
    let from_host = hosts.keys().filter(|status| is_possible(**status, route)).copied();
    for status in from_host.chain((method == Method::GET).then_some(304)) {
        let shared = || json!({ "$ref": format!("#/components/responses/{status}") });
        responses.entry(status.to_string()).or_insert_with(shared);
    }
    object.insert("responses".to_owned(), responses.into());
    object.into()
}

/// Whether a key of an operation's responses is a success. A redirect is one, and "not modified" is not.
fn is_success(status: &str) -> bool {
    status.starts_with('2') || status.starts_with('3') && status != "304"
}

/// The ids of operations. Clients are generated from them, so each is given once and stays the same while the routes do.
#[derive(Default)]
struct Ids(HashSet<String>);

impl Ids {
    /// The service's name, and what its component calls the operation. Without that, method and path.
    fn of(&mut self, route: &Route, method: &Method, own: Option<&Value>) -> String {
        let by_path = || words(&format!("{} {}", method.as_str().to_lowercase(), route.pattern));
        let own = own.and_then(Value::as_str).map(words).filter(|name| !name.is_empty());
        let mut id = format!("{}.{}", route.service, own.unwrap_or_else(by_path));
        if self.0.contains(&id) {
            id = format!("{}.{}", route.service, by_path());
        }
        // Paths may differ only in other characters.
        let (base, mut number) = (id.clone(), 1);
        while !self.0.insert(id.clone()) {
            number += 1;
            id = format!("{base}_{number}");
        }
        id
    }
}

/// The letters and digits of a text, joined by `_`. Generators make names of them.
fn words(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// The tag of a service's operations.
fn tag(name: &str, served: &Served) -> Value {
    let description = served.description.as_deref();
    let text = description.map_or_else(
        || "A component that does not describe itself".to_owned(),
        |description| format!("{} {}", description.name, description.version),
    );
    json!({ "name": name, "description": text })
}

/// Whether the host itself may answer a request for a route with this status.
fn is_possible(status: u16, route: &Route) -> bool {
    match status {
        401 => route.access != Access::Public,
        // `/users/profile` also matches `/users/{id}`, but is a path of its own with other methods.
        405 => route.pattern.contains('{'),
        _ => true,
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([{}, { "bearerAuth": [] }]),
        _ => json!([{ "bearerAuth": [] }]),
    }
}

/// A pattern as a path template of OpenAPI, which has no parameter for several segments: `{*rest}` becomes `{rest}`.
fn template(pattern: &str) -> String {
    pattern.replace("{*", "{")
}

/// The documented parameters, the undocumented ones of the path, and `If-None-Match` for GET.
fn parameters(pattern: &str, method: &Method, documented: Option<Value>) -> Vec<Value> {
    let mut parameters = match documented {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    for segment in pattern.split('/') {
        let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { continue };
        if !parameters.iter().any(|known| known["in"] == "path" && known["name"] == name) {
            parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
    }
    if method == Method::GET {
        parameters.push(if_none_match());
    }
    parameters
}

fn if_none_match() -> Value {
    json!({ "$ref": "#/components/parameters/IfNoneMatch" })
}

/// The Response Object of errors in the envelope.
fn refusal(status: u16, codes: &BTreeMap<String, String>) -> Value {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("An error");
    let reasons = codes.iter().filter(|(_, why)| !why.is_empty()).map(|(code, why)| format!("\n\n`{code}`: {why}"));
    let codes: Vec<&String> = codes.keys().collect();
    json!({
        "description": format!("{name}.{}", reasons.collect::<String>()),
        "headers": headers(status),
        "content": { "application/json": { "schema": { "allOf": [
            { "$ref": "#/components/schemas/Error" },
            { "properties": { "error": { "properties": { "code": { "enum": codes } } } } },
        ] } } },
    })
}

fn headers(status: u16) -> Value {
    let header = |name: &str, schema: Value| json!({ name: { "schema": schema } });
    let retry_after = || json!({ "type": "integer", "minimum": 1 });
    match status {
        401 => header("WWW-Authenticate", json!({ "const": "Bearer" })),
        405 => header("Allow", json!({ "type": "string" })),
        415 => header("Accept-Encoding", json!({ "const": "identity" })),
        429 => json!({
            "Retry-After": { "schema": retry_after() },
            "RateLimit-Policy": { "description": "How often a client may call.", "schema": { "type": "string" } },
            "RateLimit": { "description": "What the client has left, and when it is reset.", "schema": { "type": "string" } },
        }),
        503 => header("Retry-After", retry_after()),
        _ => json!({}),
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["success", "error"],
        "additionalProperties": false,
        "properties": {
            "success": { "const": false },
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "additionalProperties": false,
                "properties": {
                    "code": { "type": "string", "description": "For programs to branch on." },
                    "message": { "type": "string", "description": "For people to read." },
                    "request_id": { "type": "string", "description": "The id of the request in the host's log." },
                    "details": { "description": "More data for programs." },
                },
            },
        },
    })
}

/// The gateway's own paths.
fn own_paths() -> Map<String, Value> {
    let word = || json!({ "enum": ["healthy", "unhealthy"] });
    let health = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": {
                "type": "object",
                "required": ["status", "service", "services"],
                "additionalProperties": false,
                "properties": {
                    "status": word(),
                    "service": { "const": "api-gateway" },
                    "services": { "type": "object", "additionalProperties": word() },
                },
            } } },
        })
    };
    let document = json!({
        "description": "This document.",
        "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["openapi", "info", "paths"],
            "properties": {
                "openapi": { "const": "3.1.0" },
                "info": { "type": "object" },
                "paths": { "type": "object" },
            },
        } } },
    });
    let own = |id: &str, summary: &str, responses: Value| {
        let mut object = json!({
            "operationId": id,
            "summary": summary,
            "tags": [OWN_TAG],
            "security": [],
            "responses": responses,
        });
        for status in [400, 403, 404, 414, 421, 431, 500] {
            object["responses"][status.to_string()] = json!({ "$ref": format!("#/components/responses/{status}") });
        }
        json!({ "get": object })
    };
    let healths = json!({ "200": health("Every service is healthy."), "503": health("A service is unhealthy.") });
    let documents = json!({ "200": document, "304": { "$ref": "#/components/responses/304" } });
    let health = own("health", "Whether every service is healthy", healths);
    let mut document = own("openapi", "The routes of all services, in OpenAPI 3.1", documents);
    document["get"]["parameters"] = json!([if_none_match()]);
    OWN_PATHS.into_iter().map(str::to_owned).zip([health, document]).collect()
}
