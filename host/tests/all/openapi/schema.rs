//! The part of JSON Schema that the document uses. An unknown keyword fails the test.

use serde_json::Value;
use testing::is_date_time;

/// The only pattern of the document.
pub const DATE_TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$";

/// The target of a reference. Any other value is returned unchanged.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(target) => document.pointer(target.trim_start_matches('#')).expect("the reference has a target"),
        None => value,
    }
}

/// Checks a value against a schema of a document. The error says where they differ.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if schema.get("$ref").is_some() {
        return check(document, resolve(document, schema), value);
    }
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "description" | "format" | "examples" | "required" => {}
            "properties" | "additionalProperties" => {}
            "allOf" => list(rule).iter().try_for_each(|schema| check(document, schema, value))?,
            "items" => each_item(document, rule, value)?,
            _ if holds(keyword, rule, value) => {}
            _ => return Err(format!("{value} breaks {keyword}: {rule}")),
        }
    }
    members(document, schema, value)
}

fn each_item(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    value.as_array().into_iter().flatten().try_for_each(|item| check(document, schema, item))
}

fn members(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Some(members) = value.as_object() else { return Ok(()) };
    for name in schema.get("required").map_or(&[][..], list) {
        let name = name.as_str().expect("a name");
        members.get(name).ok_or_else(|| format!("{value} lacks {name}"))?;
    }
    for (name, member) in members {
        let known = schema.get("properties").and_then(|properties| properties.get(name));
        match known.or_else(|| schema.get("additionalProperties")) {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(format!("{value} has a member {name}")),
            Some(schema) => check(document, schema, member).map_err(|why| format!("{name}: {why}"))?,
        }
    }
    Ok(())
}

/// Whether a value satisfies a keyword. A keyword for another type than the value's is satisfied.
fn holds(keyword: &str, rule: &Value, value: &Value) -> bool {
    let at_least = |count: Option<usize>, sign: i64| {
        let rule = rule.as_i64().expect("a number");
        count.is_none_or(|count| (i64::try_from(count).expect("a small number") - rule) * sign >= 0)
    };
    let length = value.as_str().map(|text| text.chars().count());
    let number =
        |fits: fn(f64, f64) -> bool| value.as_f64().is_none_or(|value| fits(value, rule.as_f64().expect("a number")));
    match keyword {
        "const" => value == rule,
        "enum" => list(rule).contains(value),
        "type" => match rule {
            Value::Array(types) => types.iter().any(|one| is(one, value)),
            one => is(one, value),
        },
        "minimum" => number(|value, least| value >= least),
        "maximum" => number(|value, most| value <= most),
        "minLength" => at_least(length, 1),
        "maxLength" => at_least(length, -1),
        "minItems" => at_least(value.as_array().map(Vec::len), 1),
        "maxItems" => at_least(value.as_array().map(Vec::len), -1),
        "minProperties" => at_least(value.as_object().map(serde_json::Map::len), 1),
        "pattern" if rule == DATE_TIME => !value.is_string() || is_date_time(value),
        other => panic!("the keyword {other}: {rule} is not supported"),
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type is a text") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is unknown"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[test]
fn a_schema_accepts_valid_values_and_refuses_others() {
    use serde_json::json;
    let document = json!({ "components": { "Even": { "enum": [0, 2] } } });
    let object = json!({
        "type": "object", "required": ["a"], "additionalProperties": false, "minProperties": 1,
        "properties": { "a": { "$ref": "#/components/Even" }, "b": { "type": ["string", "null"], "maxLength": 2 } },
    });
    let open = json!({ "properties": { "a": { "const": 1 } }, "additionalProperties": { "type": "boolean" } });
    let table = [
        (
            &object,
            vec![json!({ "a": 0 }), json!({ "a": 2, "b": null }), json!({ "a": 2, "b": "éé" })],
            vec![
                json!({ "a": 1 }),
                json!({ "b": null }),
                json!({ "a": 0, "b": "abc" }),
                json!({ "a": 0, "c": 1 }),
                json!([]),
            ],
        ),
        (&open, vec![json!({ "a": 1, "b": true }), json!(7)], vec![json!({ "a": 2 }), json!({ "b": 1 })]),
        (
            &json!({ "type": "integer", "minimum": 1, "maximum": 3 }),
            vec![json!(1), json!(3)],
            vec![json!(0), json!(4), json!(1.5), json!("1")],
        ),
        (
            &json!({ "type": "array", "minItems": 1, "maxItems": 2, "items": { "type": "number" } }),
            vec![json!([1]), json!([1.5, 2])],
            vec![json!([]), json!([1, 2, 3]), json!(["1"]), json!({})],
        ),
        (
            &json!({ "allOf": [{ "type": "string" }, { "minLength": 2 }] }),
            vec![json!("ab")],
            vec![json!("a"), json!(12)],
        ),
        (
            &json!({ "pattern": DATE_TIME }),
            vec![json!("2025-01-01 00:00:00"), json!(1)],
            vec![json!("2025-01-01"), json!("")],
        ),
    ];
    for (schema, good, bad) in table {
        for value in good {
            assert_eq!(check(&document, schema, &value), Ok(()), "{schema} {value}");
        }
        for value in bad {
            assert!(check(&document, schema, &value).is_err(), "{schema} {value}");
        }
    }
}
