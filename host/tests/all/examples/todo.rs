//! The todo service, which is the same in each language that has a kit.

use comptoir::manifest::Manifest;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use testing::{Client, Shop, shop_manifest};

/// The services.
const TODOS: [&str; 2] = ["todo-js", "todo-py"];

/// The shop, for its logins, with the todo services as their own manifest has them.
fn manifest() -> Manifest {
    let (mut manifest, examples) = (shop_manifest(), super::manifest());
    manifest.deploy.compile_time = examples.deploy.compile_time;
    manifest.services.extend(examples.services.into_iter().filter(|(name, _)| TODOS.contains(&&**name)));
    manifest
}

async fn shop() -> Shop {
    Shop::with(manifest()).await
}

fn of(todo: &str, path: &str) -> String {
    format!("/{todo}/todos{path}")
}

async fn count(client: &Client, todo: &str, query: &str) -> i64 {
    client.get(&of(todo, query)).await.body["count"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn a_todo_is_created_listed_changed_and_deleted_and_survives_a_restart() {
    let mut shop = shop().await;
    let (ada, bob, admin) = (shop.user("ada").await, shop.user("bob").await, shop.admin().await);
    for todo in TODOS {
        let created = ada.post(&of(todo, ""), json!({ "title": "Milch für 日本" })).await;
        let milk = json!({ "id": 1, "owner": "ada", "title": "Milch für 日本", "done": false });
        assert_eq!(created.succeeds(201), &milk, "{todo}");
        let list = shop.anon().get(&of(todo, "")).await;
        assert_eq!(list.body, json!({ "success": true, "data": [milk], "count": 1 }), "{todo}");
    }
    shop.restart().await;
    let anon = shop.anon();
    let again = |client: &Client| anon.with_token(client.access_token());
    let (ada, bob, admin) = (again(&ada), again(&bob), again(&admin));
    for todo in TODOS {
        let one = of(todo, "/1");
        bob.put(&one, json!({ "done": true })).await.refuses(404, "TODO_NOT_FOUND");
        assert_eq!(ada.put(&one, json!({ "done": true })).await.succeeds(200)["done"], true, "{todo}");
        assert_eq!(
            (count(&anon, todo, "?state=open").await, count(&anon, todo, "?state=done").await),
            (0, 1),
            "{todo}"
        );
        let deleted = admin.delete(&one).await;
        assert_eq!((deleted.status.as_u16(), &*deleted.text), (204, ""), "{todo}");
        for missing in ["/1", "/9223372036854775807", "/9223372036854775808", "/x", "/%ff"] {
            anon.get(&of(todo, missing)).await.refuses(404, "TODO_NOT_FOUND");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn a_wrong_body_or_query_is_refused_with_the_field_and_writes_nothing() {
    let shop = shop().await;
    let ada = shop.user("ada").await;
    for todo in TODOS {
        let path = of(todo, "");
        let fields = [
            (json!({}), "title", "The field title is missing."),
            (json!({ "title": 7 }), "title", "The field title must be a string."),
            (json!({ "title": "" }), "title", "The field title must not be empty."),
            (json!({ "title": "x".repeat(201) }), "title", "The field title must have at most 200 characters."),
            (json!({ "title": "a\0" }), "title", "The field title must not contain U+0000."),
            (json!({ "title": "milk", "a\u{7}": 1 }), "a?", "The field a? is unknown."),
        ];
        for (body, field, message) in fields {
            let refused = ada.post(&path, body).await;
            refused.refuses(422, "INVALID_FIELD");
            assert_eq!(refused.body["error"]["details"]["field"], field, "{todo}");
            assert_eq!(refused.body["error"]["message"], message, "{todo}");
        }
        let deep = "[".repeat(500_000);
        for body in ["", "{", "{\"title\":NaN}", "\u{feff}{}", "{\"title\":'milk'}", deep.as_str()] {
            let refused = ada.send_body(Method::POST, &path, Some("application/json"), body.to_owned()).await;
            refused.refuses(400, "INVALID_BODY");
        }
        ada.send_body(Method::POST, &path, Some("text/plain"), "{}").await.refuses(400, "INVALID_BODY");
        ada.get(&of(todo, "?state=other")).await.refuses(400, "INVALID_QUERY");
        assert_eq!(count(&ada, todo, "").await, 0, "{todo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn a_caller_without_the_role_of_a_route_is_refused() {
    let shop = shop().await;
    let (anon, ada) = (shop.anon(), shop.user("ada").await);
    for todo in TODOS {
        anon.post(&of(todo, ""), json!({ "title": "milk" })).await.refuses(401, "MISSING_TOKEN");
        ada.post(&of(todo, ""), json!({ "title": "milk" })).await.succeeds(201);
        ada.delete(&of(todo, "/1")).await.refuses(403, "FORBIDDEN");
        assert_eq!(count(&anon, todo, "").await, 1, "{todo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn an_error_in_a_transaction_leaves_nothing_behind_and_frees_the_writer() {
    let shop = shop().await;
    let ada = shop.user("ada").await;
    for todo in TODOS {
        ada.post(&of(todo, ""), json!({ "title": "milk" })).await.succeeds(201);
        for _ in 0..3 {
            let refused = ada.post(&of(todo, "/import"), json!({ "titles": ["bread", "milk", "salt"] })).await;
            refused.refuses(409, "TODO_EXISTS");
            assert_eq!(refused.body["error"]["details"], json!({ "title": "milk" }), "{todo}");
        }
        assert_eq!(count(&ada, todo, "").await, 1, "{todo}");
        let imported = ada.post(&of(todo, "/import"), json!({ "titles": ["bread", "salt"] })).await;
        assert_eq!(imported.status, 204, "{todo}: {}", imported.text);
        assert_eq!(count(&ada, todo, "").await, 3, "{todo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn a_list_in_javascript_is_cached_until_a_todo_changes() {
    let shop = shop().await;
    let (anon, ada) = (shop.anon(), shop.user("ada").await);
    for expected in [0, 1] {
        for cached in ["miss", "hit"] {
            let list = anon.get(&of("todo-js", "")).await;
            assert_eq!((list.header("x-comptoir-cache"), &list.body["count"]), (cached, &json!(expected)));
        }
        ada.post(&of("todo-js", ""), json!({ "title": expected.to_string() })).await.succeeds(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn todos_of_many_requests_at_once_are_all_written() {
    let shop = shop().await;
    let ada = shop.user("ada").await;
    for todo in TODOS {
        let path = of(todo, "");
        let answers = join_all((0..40).map(|number| ada.post(&path, json!({ "title": number.to_string() })))).await;
        answers.iter().for_each(|answer| assert_eq!(answer.status, 201, "{todo}: {}", answer.text));
        assert_eq!(count(&ada, todo, "").await, 40, "{todo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `just examples`"]
async fn the_route_tables_of_todo_services_are_in_the_openapi_document() {
    let shop = shop().await;
    let document = shop.anon().get("/openapi.json").await.body;
    for todo in TODOS {
        let paths = &document["paths"];
        let create = &paths[of(todo, "")]["post"];
        assert_eq!(create["summary"], "Create todo", "{todo}");
        let body = &create["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(body, &format!("#/components/schemas/{todo}.NewTodo"));
        let title = json!({ "type": "string", "minLength": 1, "maxLength": 200 });
        assert_eq!(document["components"]["schemas"][format!("{todo}.NewTodo")]["properties"]["title"], title);
        for status in ["201", "400", "401", "409", "413", "422", "503"] {
            assert!(create["responses"][status].is_object(), "{todo} {status}");
        }
        let list = &paths[of(todo, "")]["get"];
        let names: Vec<_> = list["parameters"].as_array().unwrap().iter().map(|each| each["name"].clone()).collect();
        assert_eq!(names[0], "state", "{todo}");
        assert_eq!(paths[of(todo, "/import")]["post"]["summary"], "Create all of these todos or none", "{todo}");
        assert!(paths[of(todo, "/{id}")]["delete"].is_object(), "{todo}");
    }
}
