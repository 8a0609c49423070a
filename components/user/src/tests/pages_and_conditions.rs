//! Pages of users, and changes with If-Match.

use super::*;

fn header<'a>(answer: &'a TestResponse, name: &str) -> &'a str {
    answer.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
}

fn change(path: &str, tag: &str, phone: &str) -> TestResponse {
    as_admin(put(path, json!({ "phone": phone })).with_header("if-match", tag))
}

#[test]
fn a_change_with_an_old_entity_tag_is_refused() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    let seen = header(&get(&path).by("bob", "user").send(), "etag").to_owned();
    let first = change(&path, &seen, "1");
    assert_eq!(first.status, 200, "{}", first.text);
    let second = change(&path, &seen, "2");
    assert_eq!(second.outcome(), (412, "PRECONDITION_FAILED"));
    assert_eq!(as_admin(get(&path)).body["data"]["phone"], "1");
    assert_eq!(header(&as_admin(get(&path)), "etag"), header(&first, "etag"));
    assert_eq!(change(&path, header(&first, "etag"), "2").status, 200);
    assert_eq!(change(&path, "*", "3").status, 200);
    assert_eq!(as_admin(put(&path, json!({ "phone": "4" }))).status, 200);
}

#[test]
fn a_deletion_with_an_old_entity_tag_is_refused() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    peers_respond();
    let seen = header(&as_admin(get(&path)), "etag").to_owned();
    assert_eq!(change(&path, &seen, "1").status, 200);
    let late = as_admin(delete(&path).with_header("if-match", &seen));
    assert_eq!(late.outcome(), (412, "PRECONDITION_FAILED"));
    let now = header(&as_admin(get(&path)), "etag").to_owned();
    // Two header fields form one list.
    let listed = delete(&path).with_header("if-match", "\"x\"").with_header("if-match", now);
    assert_eq!(as_admin(listed).status, 200);
}

#[test]
fn an_entity_tag_is_strong_and_identifies_one_profile() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    let tag = header(&as_admin(get(&path)), "etag").to_owned();
    assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(header(&get("/users/profile").by("bob", "user").send(), "etag"), tag);
    assert_ne!(header(&as_admin(get("/users/1")), "etag"), tag);
}

#[test]
fn access_is_checked_before_the_condition() {
    install(&SERVICE);
    let other = put("/users/1", json!({ "phone": "1" })).by("bob", "user").with_header("if-match", "\"x\"").send();
    assert_eq!(other.outcome(), (403, "FORBIDDEN"));
    assert_eq!(change("/users/99", "*", "1").outcome(), (404, "USER_NOT_FOUND"));
    let empty = as_admin(put("/users/1", json!({})).with_header("if-match", "\"x\""));
    assert_eq!(empty.outcome(), (400, "UPDATE_FAILED"));
}

#[test]
fn a_session_that_ended_meanwhile_changes_nothing() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    let late = put(&path, json!({ "phone": "1" })).by("bob", "user").whose_session_ended().send();
    assert_eq!(late.outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(as_admin(get(&path)).body["data"]["phone"], JsonValue::Null);
}

#[test]
fn pages_contain_every_user_once_despite_changes() {
    install(&SERVICE);
    peers_respond();
    for number in 2..=25 {
        make(&format!("user {number}"));
    }
    let (mut ids, mut path) = (Vec::new(), "/users?limit=10".to_owned());
    loop {
        let page = as_admin(get(&path));
        let users = page.body["data"].as_array().unwrap().clone();
        assert_eq!(page.body["count"], users.len());
        ids.extend(users.iter().map(|user| user["id"].as_i64().unwrap()));
        let Some((_, rest)) = header(&page, "link").split_once('<') else { break };
        path = rest.split('>').next().unwrap().to_owned();
        // Delete the item that the cursor names.
        assert_eq!(as_admin(delete(&format!("/users/{}", ids[ids.len() - 1]))).status, 200);
        make(&format!("later than {}", ids.len()));
    }
    assert_eq!(ids, (1..=27).collect::<Vec<i64>>());
}

#[test]
fn an_invalid_page_is_refused() {
    install(&SERVICE);
    make("bob");
    for query in ["limit=0", "limit=-1", "limit=1e9", "limit=", "after=x", "limit=1&after=-1"] {
        assert_eq!(as_admin(get(&format!("/users?{query}"))).outcome(), (400, "INVALID_PAGE"), "{query}");
    }
    let first = as_admin(get("/users?limit=1"));
    let cursor = header(&first, "link").split("after=").nth(1).unwrap().split('>').next().unwrap().to_owned();
    assert_eq!(as_admin(get(&format!("/users?after={cursor}"))).body["data"][0]["username"], "bob");
    for wrong in ["1", "2", &format!("{cursor}0"), &cursor[1..], &cursor.to_uppercase()] {
        let answer = as_admin(get(&format!("/users?after={wrong}")));
        assert!(*wrong == cursor || answer.outcome() == (400, "INVALID_PAGE"), "{wrong}");
    }
    for (query, count) in [("limit=1000000000", 2), ("limit=1", 1), ("other=1", 2)] {
        let answer = as_admin(get(&format!("/users?{query}")));
        assert_eq!((answer.status, &answer.body["count"]), (200, &count.into()), "{query}");
        assert_eq!(header(&answer, "link").is_empty(), query != "limit=1", "{query}");
    }
}

#[test]
fn a_list_of_2001_users_has_three_pages_and_a_total() {
    let database = install(&SERVICE);
    let profiles = "INSERT INTO profiles (username, name_key, date_creation, date_update)
                    WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2001)
                    SELECT 'user ' || i, 'user ' || i, '2025-01-01 00:00:00', '2025-01-01 00:00:00' FROM n";
    database.execute(profiles, []).unwrap();
    let (mut ids, mut counts, mut path) = (Vec::new(), Vec::new(), Some("/users".to_owned()));
    while let Some(here) = path {
        let page = as_admin(get(&here));
        let users = page.body["data"].as_array().unwrap();
        assert_eq!(page.body["count"], users.len());
        counts.push(users.len());
        ids.extend(users.iter().map(|user| user["id"].as_i64().unwrap()));
        let link = header(&page, "link").split_once('<').map(|(_, rest)| rest.split('>').next().unwrap().to_owned());
        assert_eq!(page.body["total"], link.as_ref().map_or(json!(null), |_| json!(2001)), "{here}");
        path = link;
    }
    assert_eq!((counts, ids), (vec![1000, 1000, 1], (1..=2001).collect::<Vec<i64>>()));
}

#[test]
fn a_page_of_long_profiles_ends_after_8_mib() {
    let database = install(&SERVICE);
    let profiles = "INSERT INTO profiles
                        (username, name_key, first_name, last_name, phone, address, date_creation, date_update)
                    WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 1000),
                        long(text) AS (SELECT replace(printf('%.*c', 1000, 'x'), 'x', '€'))
                    SELECT 'user ' || i, 'user ' || i, text, text, text, text, '2025-01-01 00:00:00', '2025-01-01 00:00:00'
                    FROM n, long";
    database.execute(profiles, []).unwrap();
    let first = as_admin(get("/users"));
    assert_eq!(first.status, 200, "{}", first.body);
    let users = first.body["data"].as_array().unwrap();
    assert_eq!((&first.body["count"], &first.body["total"]), (&json!(users.len()), &json!(1000)));
    assert!((650..700).contains(&users.len()), "{}", users.len());
    let link = header(&first, "link").split_once('<').unwrap().1.split('>').next().unwrap().to_owned();
    let rest = as_admin(get(&link));
    assert_eq!((&rest.body["count"], &rest.body["total"]), (&json!(1000 - users.len()), &json!(null)));
}
