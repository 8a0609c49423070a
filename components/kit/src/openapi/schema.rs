//! JSON Schemas of types, in the form that the host's document uses.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// Collects the schemas of bodies and of responses.
#[derive(Debug)]
pub(super) struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Schemas {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Schemas {
            requests: settings().for_deserialize().into_generator(),
            responses: settings().for_serialize().into_generator(),
        }
    }
}

impl Schemas {
    /// The schema of a type that a request has.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        tidy(self.requests.subschema_for::<T>().into(), false)
    }

    /// The members of an object that a request has: their schemas, and the names of the required ones.
    pub(super) fn request_members<T: JsonSchema>(&mut self) -> (Map<String, Value>, Vec<Value>) {
        let schema = T::json_schema(&mut self.requests);
        let mut schema = tidy(schema.into(), false);
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let Value::Object(members) = schema["properties"].take() else { return (Map::new(), required) };
        (members, required)
    }

    /// The schema of a type that a response has. It admits no other members.
    pub(super) fn response<T: JsonSchema>(&mut self) -> Value {
        tidy(self.responses.subschema_for::<T>().into(), true)
    }

    /// All named schemas.
    ///
    /// # Panics
    ///
    /// If a request and a response have different types with the same name.
    pub(super) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = Map::new();
        let requests =
            self.requests.take_definitions(true).into_iter().map(|(name, schema)| (name, tidy(schema, false)));
        let responses =
            self.responses.take_definitions(true).into_iter().map(|(name, schema)| (name, tidy(schema, true)));
        for (name, schema) in requests.chain(responses) {
            let other = all.insert(name.clone(), schema.clone());
            assert!(other.is_none_or(|other| other == schema), "there are two types {name}: rename one of them");
        }
        all
    }
}

/// Removes what the host's document does not have, at every depth. `is_closed` refuses other members.
fn tidy(mut value: Value, is_closed: bool) -> Value {
    if let Value::Object(members) = &mut value {
        members.remove("title");
        members.remove("default");
        if let Some(names) = members.get("oneOf").and_then(names_of) {
            members.remove("oneOf");
            members.insert("type".to_owned(), json!("string"));
            members.insert("enum".to_owned(), names);
        }
        if is_closed && members.contains_key("properties") {
            members.insert("additionalProperties".to_owned(), json!(false));
        }
        if let Some(Value::String(text)) = members.get_mut("description") {
            *text = plain(text);
        }
        members.values_mut().for_each(|member| *member = tidy(member.take(), is_closed));
    } else if let Value::Array(items) = &mut value {
        items.iter_mut().for_each(|item| *item = tidy(item.take(), is_closed));
    }
    value
}

/// The names of an enum whose variants have documentation.
fn names_of(variants: &Value) -> Option<Value> {
    let names: Option<Vec<&Value>> = variants.as_array()?.iter().map(|variant| variant.get("const")).collect();
    names.map(|names| json!(names))
}

/// Documentation as text: one line for each paragraph, without links to other items.
pub(super) fn plain(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n").replace("[`", "`").replace("`]", "`")
}
