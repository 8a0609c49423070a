//! Requests that the gate admitted before their session ended. They must not act for the next user of the same name.

use serde_json::json;
use testing::{Client, Shop, manifest_of, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{own_profile, path_of};

/// A request that passed the gate and whose body is not sent yet.
struct Late {
    stream: TcpStream,
    body: &'static str,
}

impl Late {
    /// Sends the head and waits for `100 Continue`, which the host sends after it checked the token.
    async fn begin(shop: &Shop, client: &Client, what: &str, body: &'static str) -> Self {
        let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
        let head = format!(
            "{what} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            client.access_token(),
            body.len(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(interim, *b"HTTP/1.1 100 Continue\r\n\r\n", "{what}");
        Self { stream, body }
    }

    /// Sends the body and returns the answer.
    async fn end(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_request_of_a_deleted_user_does_not_act_for_a_new_user_of_that_name() {
    let shop = Shop::open().await;
    let (admin, old) = (shop.admin().await, shop.user("marta").await);
    let path = path_of(&old).await;
    let late = [
        ("POST /orders", r#"{"items":[{"product_id":1,"quantity":1}]}"#),
        // The id of the next user.
        ("PUT /users/3", r#"{"phone":"of the old marta"}"#),
        ("GET /users/3", "{}"),
        ("GET /orders", "{}"),
    ];
    let late = late.map(|(what, body)| Late::begin(&shop, &old, what, body));
    let late = futures::future::join_all(late).await;
    let product = Late::begin(&shop, &old, "GET /products/1", "{}").await;

    admin.delete(&path).await.succeeds(200);
    let new = shop.user("marta").await;
    assert_eq!(path_of(&new).await, "/users/3");
    for request in late {
        let answer = request.end().await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("INVALID_TOKEN"), "{answer}");
    }
    assert!(product.end().await.starts_with("HTTP/1.1 200"), "a public route needs no session");
    assert_eq!(new.get("/orders").await.succeeds(200), &json!([]));
    assert_eq!(own_profile(&new).await["phone"], json!(null));
    assert_eq!(shop.anon().get("/products/1").await.succeeds(200)["stock"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_session_ends_while_it_waits_for_the_writer_is_refused() {
    let shop = Shop::open().await;
    let (operator, marta) = (shop.operator(), shop.user("marta").await);
    let database = rusqlite::Connection::open(shop.data.path().join("orders.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let client = marta.clone();
    let order = json!({ "items": [{ "product_id": 1, "quantity": 1 }] });
    let waiting = tokio::spawn(async move { client.post("/orders", order).await });
    let instances = async |service: &str| {
        let answer = operator.get("/services").await;
        let services = answer.succeeds(200).as_array().unwrap().clone();
        services.iter().find(|known| known["service"] == service).unwrap()["instances"]["in_use"].clone()
    };
    while instances("orders").await != 1 {
        tokio::task::yield_now().await;
    }
    marta.post("/auth/logout", json!({})).await.succeeds(200);
    database.execute_batch("ROLLBACK").unwrap();
    waiting.await.unwrap().refuses(401, "INVALID_TOKEN");
    assert_eq!(shop.anon().get("/products/1").await.succeeds(200)["stock"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_learns_that_its_callers_session_ended() {
    let mut manifest = shop_manifest();
    let answers = "[services.answers]\ncomponent = \"guest_answers.wasm\"\nmounts = [\"/answers\"]\n\
                   public = [\"/answers\"]\ngrants = [\"storage\"]\n";
    manifest.services.extend(manifest_of(answers).services);
    manifest.services.get_mut("answers").unwrap().calls.insert("auth".to_owned());
    let shop = Shop::with(manifest).await;
    let marta = shop.user("marta").await;
    let answer = marta.post("/answers/leave", json!({})).await;
    assert_eq!(*answer.succeeds(200), json!({ "before": false, "status": 200, "after": true }));
    marta.post("/answers/leave", json!({})).await.refuses(401, "INVALID_TOKEN");
}
