//! The members of an OpenAPI document that the host accepts from a component. It drops all others.
//!
//! The gateway serves the document as its own, so a component must not lead clients elsewhere with it. The host accepts no
//! `servers`, `externalDocs`, `links` or `callbacks`, and no schema at another address.

use serde_json::{Map, Value};

use Shape::{Data, Each, List, One};

/// The members that a kind of object may have.
pub(super) struct Members(&'static [(&'static str, Shape)]);

/// What kind of value a member has.
enum Shape {
    /// Any value, accepted unchanged.
    Data,
    /// An object with these members.
    One(&'static Members),
    /// A list of objects with these members.
    List(&'static Members),
    /// An object whose values have these members, under names that the component chooses.
    Each(&'static Members),
}

/// OpenAPI's Operation Object.
pub(super) static OPERATION: Members = Members(&[
    ("operationId", Data),
    ("summary", Data),
    ("description", Data),
    ("deprecated", Data),
    ("parameters", List(&PARAMETER)),
    ("requestBody", One(&REQUEST_BODY)),
    ("responses", Each(&RESPONSE)),
]);

/// OpenAPI's Parameter Object, and the Header Object, whose members are a subset.
static PARAMETER: Members = Members(&[
    ("name", Data),
    ("in", Data),
    ("description", Data),
    ("required", Data),
    ("deprecated", Data),
    ("style", Data),
    ("explode", Data),
    ("schema", One(&SCHEMA)),
    ("content", Each(&MEDIA_TYPE)),
    ("example", Data),
    ("examples", Each(&EXAMPLE)),
]);

static REQUEST_BODY: Members = Members(&[("description", Data), ("required", Data), ("content", Each(&MEDIA_TYPE))]);

static RESPONSE: Members =
    Members(&[("description", Data), ("headers", Each(&PARAMETER)), ("content", Each(&MEDIA_TYPE))]);

static MEDIA_TYPE: Members = Members(&[("schema", One(&SCHEMA)), ("example", Data), ("examples", Each(&EXAMPLE))]);

/// OpenAPI's Example Object, without `externalValue`.
static EXAMPLE: Members = Members(&[("summary", Data), ("description", Data), ("value", Data)]);

/// OpenAPI's Schema Object: JSON Schema 2020-12 without the keywords that identify or load other documents.
pub(super) static SCHEMA: Members = Members(&[
    ("$ref", Data),
    ("$comment", Data),
    ("title", Data),
    ("description", Data),
    ("default", Data),
    ("deprecated", Data),
    ("readOnly", Data),
    ("writeOnly", Data),
    ("example", Data),
    ("examples", Data),
    ("type", Data),
    ("enum", Data),
    ("const", Data),
    ("format", Data),
    ("pattern", Data),
    ("minLength", Data),
    ("maxLength", Data),
    ("minimum", Data),
    ("maximum", Data),
    ("exclusiveMinimum", Data),
    ("exclusiveMaximum", Data),
    ("multipleOf", Data),
    ("minItems", Data),
    ("maxItems", Data),
    ("uniqueItems", Data),
    ("minContains", Data),
    ("maxContains", Data),
    ("minProperties", Data),
    ("maxProperties", Data),
    ("required", Data),
    ("dependentRequired", Data),
    ("contentEncoding", Data),
    ("contentMediaType", Data),
    ("contentSchema", One(&SCHEMA)),
    ("properties", Each(&SCHEMA)),
    ("patternProperties", Each(&SCHEMA)),
    ("dependentSchemas", Each(&SCHEMA)),
    ("additionalProperties", One(&SCHEMA)),
    ("unevaluatedProperties", One(&SCHEMA)),
    ("propertyNames", One(&SCHEMA)),
    ("items", One(&SCHEMA)),
    ("unevaluatedItems", One(&SCHEMA)),
    ("contains", One(&SCHEMA)),
    ("prefixItems", List(&SCHEMA)),
    ("allOf", List(&SCHEMA)),
    ("anyOf", List(&SCHEMA)),
    ("oneOf", List(&SCHEMA)),
    ("not", One(&SCHEMA)),
    ("if", One(&SCHEMA)),
    ("then", One(&SCHEMA)),
    ("else", One(&SCHEMA)),
]);

impl Members {
    /// Drops all members that are not listed, at every depth. The recursion is bounded, because serde_json refuses a depth above 128.
    pub(super) fn keep(&'static self, object: &mut Map<String, Value>) {
        object.retain(|name, value| match self.0.iter().find(|(known, _)| known == name) {
            Some((_, shape)) => {
                shape.keep(value);
                true
            }
            None => false,
        });
    }

    /// Like [`Self::keep`] for a value that may not be an object: a schema may also be `true`.
    pub(super) fn keep_in(&'static self, value: &mut Value) {
        if let Value::Object(object) = value {
            self.keep(object);
        }
    }
}

impl Shape {
    fn keep(&self, value: &mut Value) {
        match (self, value) {
            (One(members), value) => members.keep_in(value),
            (List(members), Value::Array(values)) => values.iter_mut().for_each(|value| members.keep_in(value)),
            (Each(members), Value::Object(values)) => values.values_mut().for_each(|value| members.keep_in(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn kept(mut operation: Value) -> Value {
        OPERATION.keep_in(&mut operation);
        operation
    }

    #[test]
    fn members_that_lead_elsewhere_are_dropped_at_every_depth() {
        let elsewhere = || json!({ "url": "https://evil.example" });
        let schema = json!({
            "type": "object",
            "externalDocs": elsewhere(),
            "$id": "https://evil.example/schema",
            "$schema": "https://evil.example/dialect",
            "discriminator": { "propertyName": "kind", "mapping": { "a": "https://evil.example" } },
            "properties": { "servers": { "type": "string", "externalDocs": elsewhere() } },
            "anyOf": [true, { "const": 1, "x-logo": elsewhere() }],
        });
        let content = json!({
            "application/json": { "schema": schema, "examples": { "one": { "value": 1, "externalValue": "https://evil.example" } } },
        });
        let taken = kept(json!({
            "summary": "Reads",
            "servers": [elsewhere()],
            "externalDocs": elsewhere(),
            "callbacks": { "done": {} },
            "security": [],
            "tags": ["mine"],
            "x-anything": elsewhere(),
            "parameters": [{ "name": "id", "in": "path", "schema": { "type": "string", "xml": {} } }],
            "responses": { "200": { "description": "Yes", "links": { "next": { "server": elsewhere() } }, "content": content } },
        }));
        assert!(!taken.to_string().contains("evil.example"), "{taken:#}");
        let members: Vec<&String> = taken.as_object().unwrap().keys().collect();
        assert_eq!(members, ["parameters", "responses", "summary"]);
        let schema = &taken["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"], json!({ "servers": { "type": "string" } }), "a property of any name is one");
        assert_eq!(schema["anyOf"], json!([true, { "const": 1 }]));
    }

    #[test]
    fn data_stays_unchanged() {
        let schema = json!({ "default": { "servers": [1] }, "enum": [{ "externalDocs": 1 }], "required": ["servers"] });
        let operation = json!({ "requestBody": { "content": { "text/plain": { "schema": schema } } } });
        assert_eq!(kept(operation.clone()), operation);
    }
}
