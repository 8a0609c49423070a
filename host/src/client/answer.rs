//! What an answer of the admin API holds, in a form that a terminal may show.

use anyhow::bail;
use comptoir::printable::printable;
use serde_json::Value;

/// The data of an answer, which a terminal may show.
///
/// # Errors
/// The message of the host, if it refused the request.
pub(super) fn data(answer: &Value) -> anyhow::Result<Value> {
    if answer["success"] != true {
        bail!("{}", printable(answer["error"]["message"].as_str().unwrap_or("the host gave no reason")));
    }
    Ok(for_terminal(&answer["data"]))
}

/// The same data with control characters escaped, so that its texts cannot control the terminal.
pub(super) fn for_terminal(data: &Value) -> Value {
    match data {
        Value::String(text) => printable(text).into(),
        Value::Array(values) => values.iter().map(for_terminal).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (printable(name).into_owned(), for_terminal(member))).collect()
        }
        other => other.clone(),
    }
}
