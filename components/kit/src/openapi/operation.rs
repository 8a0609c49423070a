//! The description of one route.

use std::any::type_name;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::Codes;
use super::schema::{Schemas, plain};

/// What the route table says about a route, besides method, path and access.
#[derive(Clone, Copy, Debug)]
pub struct Documented {
    /// The documentation comment, line by line: a summary, an empty line, and a description.
    pub docs: &'static [&'static str],
    /// The path of the handler. Its last name becomes the operation's id.
    pub handler: &'static str,
    /// Adds the types and the errors.
    pub describe: fn(Operation) -> Operation,
}

/// The description of a route under construction.
#[derive(Debug)]
pub struct Operation {
    schemas: Schemas,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// The name of the body's type.
    body_type: Option<&'static str>,
    status: u16,
    response: Map<String, Value>,
    headers: Map<String, Value>,
    errors: Codes,
}

impl Documented {
    pub(super) fn describe(&self, schemas: Schemas, headers: &[&str]) -> Operation {
        let operation = Operation {
            schemas,
            parameters: Vec::new(),
            body: None,
            body_type: None,
            status: 200,
            response: Map::new(),
            headers: Map::new(),
            errors: Codes::new(),
        };
        headers.iter().fold((self.describe)(operation), |operation, header| operation.reading(header))
    }

    /// The name of the body's type. None for a route without documentation.
    #[cfg(feature = "native")]
    pub(crate) fn body_type(&self) -> Option<&'static str> {
        self.describe(Schemas::default(), &[]).body_type
    }

    /// The handler's name in camel case.
    fn id(&self) -> String {
        let mut words = self.handler.rsplit("::").next().unwrap_or_default().split('_');
        let first = words.next().unwrap_or_default().trim().to_owned();
        words.fold(first, |id, word| id + &word[..1].to_uppercase() + &word[1..])
    }
}

impl Operation {
    /// The request has a JSON body of this type.
    #[must_use]
    pub fn body<T: JsonSchema>(mut self) -> Operation {
        let schema = self.schemas.request::<T>();
        self.body_type = Some(type_name::<T>());
        self.body = Some(json!({ "required": true, "content": { "application/json": { "schema": schema } } }));
        self
    }

    /// The request may have a JSON body of this type.
    #[must_use]
    pub fn optional_body<T: JsonSchema>(self) -> Operation {
        let mut operation = self.body::<T>();
        if let Some(body) = &mut operation.body {
            body["required"] = json!(false);
        }
        operation
    }

    /// The query has this type.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Operation {
        let (members, required) = self.schemas.request_members::<T>();
        for (name, mut schema) in members {
            let why = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
            let required = required.contains(&json!(name));
            let parameter = json!({ "name": name, "in": "query", "required": required, "schema": schema });
            self.parameters.push(with_description(parameter, &why));
        }
        self
    }

    /// A path parameter that is a row id.
    #[must_use]
    pub fn id(self, name: &str, what: &str) -> Operation {
        let schema = json!({ "type": "integer", "format": "int64", "minimum": 0 });
        self.parameter(json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema }))
    }

    /// A path parameter that is a text.
    #[must_use]
    pub fn path(self, name: &str, what: &str) -> Operation {
        let schema = json!({ "type": "string", "minLength": 1 });
        self.parameter(json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema }))
    }

    /// A query parameter with one of these values.
    #[must_use]
    pub fn choice(self, name: &str, values: &[&str], what: &str) -> Operation {
        let schema = json!({ "type": "string", "enum": values });
        self.parameter(json!({ "name": name, "in": "query", "description": what, "schema": schema }))
    }

    /// 200 with `data` of this type.
    #[must_use]
    pub fn gives<T: JsonSchema>(self, what: &str) -> Operation {
        self.answer::<T>(200, what, &[])
    }

    /// 200 with `data` of this type and a `message`.
    #[must_use]
    pub fn changes<T: JsonSchema>(self, what: &str) -> Operation {
        self.answer::<T>(200, what, &["message"])
    }

    /// 201 with `data` of this type and a `message`.
    #[must_use]
    pub fn creates<T: JsonSchema>(self, what: &str) -> Operation {
        self.answer::<T>(201, what, &["message"])
    }

    /// 200 with a `message` and no `data`.
    #[must_use]
    pub fn says(self, what: &str) -> Operation {
        self.success(200, what, Map::new(), &["message"])
    }

    /// 200 with a list of this type as `data`, and `count`.
    #[must_use]
    pub fn lists<T: JsonSchema>(mut self, what: &str) -> Operation {
        let items = self.schemas.response::<T>();
        let mut members = Map::new();
        members.insert("data".to_owned(), json!({ "type": "array", "items": items }));
        let count = json!({ "type": "integer", "minimum": 0, "description": "Number of items in data." });
        members.insert("count".to_owned(), count);
        self.success(200, what, members, &[])
    }

    /// 200 with a [`Page`](crate::Page) of a list of this type.
    #[must_use]
    pub fn pages<T: JsonSchema>(self, what: &str) -> Operation {
        let limit = "Maximum number of items. Values over 100 count as 100. Without it, a page has up to 1,000 items.";
        let after = "The cursor from the Link header of the previous page. It is opaque, and valid only for this list.";
        let mut operation = self
            .lists::<T>(what)
            .parameter(json!({
                "name": "limit", "in": "query", "description": limit, "schema": { "type": "integer", "minimum": 1 },
            }))
            .parameter(json!({
                "name": "after", "in": "query", "description": after,
                "schema": { "type": "string", "minLength": 9, "maxLength": 24 },
            }))
            .header("Link", "`<…>; rel=\"next\"`: the next page, if there is one.")
            .error(400, "INVALID_PAGE", "limit is not a positive integer, or after is not a cursor of this list.");
        let total = "Number of items in the whole list. Absent on the last page.";
        operation.response["content"]["application/json"]["schema"]["properties"]["total"] =
            json!({ "type": "integer", "minimum": 0, "description": total });
        operation
    }

    /// A header of the response.
    #[must_use]
    pub fn header(mut self, name: &str, what: &str) -> Operation {
        self.headers.insert(name.to_owned(), json!({ "description": what, "schema": { "type": "string" } }));
        self
    }

    /// The response has an entity tag.
    #[must_use]
    pub fn tagged(self) -> Operation {
        self.header("ETag", "Identifies this version, for If-Match.")
    }

    /// An error with its code and its reason.
    #[must_use]
    pub fn error(mut self, status: u16, code: &'static str, why: &str) -> Operation {
        self.errors.entry(status).or_default().insert(code, why.to_owned());
        self
    }

    fn parameter(mut self, parameter: Value) -> Operation {
        self.parameters.push(parameter);
        self
    }

    /// A request header from the route table. The kit knows what it means.
    fn reading(self, header: &str) -> Operation {
        match header {
            "if-match" => self
                .parameter(json!({
                    "name": "If-Match", "in": "header", "schema": { "type": "string" },
                    "description": "The ETag of the version that the client has seen.",
                }))
                .error(412, "PRECONDITION_FAILED", "The resource has changed since the client saw it."),
            "idempotency-key" => self
                .parameter(json!({
                    "name": "Idempotency-Key", "in": "header",
                    "schema": { "type": "string", "minLength": 1, "maxLength": 257 },
                    "description": "Marks retries of the same request. For 24 hours, a retry with the same key gets the first \
                        response and changes nothing.",
                }))
                .header("Idempotency-Replayed", "`true` if this is the stored response to an earlier request.")
                .error(
                    400,
                    "INVALID_IDEMPOTENCY_KEY",
                    "The key is not 1 to 255 visible ASCII characters, or the request has two keys.",
                )
                .error(422, "IDEMPOTENCY_KEY_REUSED", "The key belongs to another request."),
            _ => self,
        }
    }

    fn answer<T: JsonSchema>(mut self, status: u16, what: &str, more: &[&str]) -> Operation {
        let data = self.schemas.response::<T>();
        self.success(status, what, Map::from_iter([("data".to_owned(), data)]), more)
    }

    /// Sets the successful response: the envelope with these members, all of them required, and with these texts.
    fn success(mut self, status: u16, what: &str, members: Map<String, Value>, texts: &[&str]) -> Operation {
        let mut properties = Map::from_iter([("success".to_owned(), json!({ "const": true }))]);
        properties.extend(members);
        properties.extend(texts.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))));
        let required: Vec<&String> = properties.keys().collect();
        let schema = json!({
            "type": "object", "required": required, "additionalProperties": false, "properties": properties,
        });
        self.status = status;
        self.response = Map::from_iter([
            ("description".to_owned(), json!(what)),
            ("content".to_owned(), json!({ "application/json": { "schema": schema } })),
        ]);
        self
    }

    /// The operation object, and the schemas so far.
    pub(super) fn finish(mut self, documented: &Documented) -> (Value, Schemas) {
        let text = plain(&documented.docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n"));
        let (summary, description) = text.split_once("\n\n").unwrap_or((&text, ""));
        if !self.headers.is_empty() {
            self.response.insert("headers".to_owned(), self.headers.into());
        }
        let mut object = json!({
            "operationId": documented.id(),
            "summary": summary.trim_end_matches('.'),
            "responses": { self.status.to_string(): self.response },
        });
        let optional = [
            ("description", json!(description), description.is_empty()),
            ("parameters", json!(self.parameters), self.parameters.is_empty()),
            ("requestBody", json!(self.body), self.body.is_none()),
            ("errors", json!(self.errors), self.errors.is_empty()),
        ];
        for (name, value, _) in optional.into_iter().filter(|(_, _, is_empty)| !is_empty) {
            object[name] = value;
        }
        (object, self.schemas)
    }
}

fn with_description(mut parameter: Value, why: &Value) -> Value {
    if why.is_string() {
        parameter["description"] = why.clone();
    }
    parameter
}
