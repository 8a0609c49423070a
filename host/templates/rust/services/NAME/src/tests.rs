use kit::native::{get, install, post};
use serde_json::json;

#[test]
fn everybody_reads_the_list_and_a_user_adds_to_it() {
    install(&crate::SERVICE);
    assert_eq!(get("/NAME").send().body["count"], 0);
    assert_eq!(post("/NAME", json!({ "text": "milk" })).by("ada", "user").send().status, 201);
    let list = get("/NAME").send();
    assert_eq!(list.body["data"], json!([{ "id": 1, "owner": "ada", "text": "milk" }]));
}

#[test]
fn a_new_item_needs_a_token_and_a_text() {
    install(&crate::SERVICE);
    let anonymous = post("/NAME", json!({ "text": "milk" })).send();
    assert_eq!(anonymous.outcome(), (401, "MISSING_TOKEN"));
    let empty = post("/NAME", json!({ "text": "" })).by("ada", "user").send();
    assert_eq!(empty.outcome(), (422, "INVALID_FIELD"));
}
