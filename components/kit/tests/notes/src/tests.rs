use kit::native::{delete, get, install, post};
use serde_json::json;

#[test]
fn only_the_owner_sees_and_deletes_a_note() {
    install(&crate::SERVICE);
    assert_eq!(post("/notes", json!({ "text": "milk" })).by("ada", "user").send().status, 201);
    let empty = post("/notes", json!({ "text": "" })).by("ada", "user").send();
    assert_eq!((empty.outcome(), &empty.body["error"]["details"]["field"]), ((422, "INVALID_FIELD"), &"text".into()));
    assert_eq!(get("/notes").by("bob", "user").send().body["count"], 0);
    assert_eq!(delete("/notes/1").by("bob", "user").send().outcome(), (404, "NOTE_NOT_FOUND"));
    assert_eq!(delete("/notes/1").by("ada", "user").send().status, 200);
}
