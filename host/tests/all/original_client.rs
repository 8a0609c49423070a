//! A client written for the original Flask services uses the shop, from login to logout.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testing::{PASSWORD, Shop, is_date_time};

/// The envelope of every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    data: Option<T>,
    error: Option<Problem>,
    message: Option<String>,
    count: Option<usize>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct TokenPair {
    access_token: String,
    refresh_token: String,
    token_type: String,
    expires_in: u64,
    refresh_expires_at: u64,
}

#[derive(Deserialize)]
struct Verified {
    username: String,
    expires_at: u64,
}

#[derive(Deserialize)]
struct Registered {
    user_id: u64,
    username: String,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    username: String,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    address: Option<String>,
    date_creation: Value,
    date_update: Value,
}

#[derive(Deserialize)]
struct Product {
    id: u64,
    name: String,
    price: f64,
    description: String,
    stock: u64,
    date_creation: Value,
}

#[derive(Deserialize)]
struct Order {
    id: u64,
    user_id: String,
    total: f64,
    status: String,
    date_creation: Value,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: u64,
    order_id: u64,
    product_id: u64,
    product_name: String,
    quantity: u64,
    price: f64,
}

/// The client, with the gateway's address and its current tokens.
struct ShopClient {
    base: String,
    http: reqwest::Client,
    tokens: Option<TokenPair>,
}

impl ShopClient {
    fn new(shop: &Shop) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{}", shop.addresses().gateway), http, tokens: None }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.tokens {
            Some(tokens) => request.bearer_auth(&tokens.access_token),
            None => request,
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Envelope<T>) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let envelope: Envelope<T> = response.json().await.unwrap();
        assert_eq!(envelope.success, status.is_success(), "{path}");
        assert_eq!(envelope.error.is_some(), !envelope.success, "{path}");
        (status, envelope)
    }

    /// The data of a read.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, envelope) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}");
        envelope.data.unwrap()
    }

    /// The data of a list. Checks the length against `count` of the envelope.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Vec<T> {
        let (status, envelope) = self.call::<Vec<T>>(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}");
        let list = envelope.data.unwrap();
        assert_eq!(envelope.count, Some(list.len()), "{path}");
        list
    }

    /// The data of a write, which also has a message.
    async fn write<T: DeserializeOwned>(&self, method: Method, path: &str, body: Value, status: u16) -> T {
        let (got, envelope) = self.call(method, path, Some(body)).await;
        assert_eq!(got, status, "{path}");
        assert!(envelope.message.is_some_and(|text| !text.is_empty()), "{path}");
        envelope.data.unwrap()
    }

    async fn log_in(&mut self, username: &str, password: &str) {
        let credentials = json!({ "username": username, "password": password });
        let (status, envelope) = self.call(Method::POST, "/auth/login", Some(credentials)).await;
        assert_eq!(status, 200, "{username}");
        self.tokens = envelope.data;
    }

    /// The code of an error.
    async fn fails(&self, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, envelope) = self.call::<Value>(method, path, body).await;
        let problem = envelope.error.unwrap();
        assert!(envelope.data.is_none() && !problem.message.is_empty(), "{path}");
        (status.as_u16(), problem.code)
    }
}

#[tokio::test]
async fn a_client_of_the_original_services_works_from_login_to_logout() {
    let shop = Shop::open().await;

    let health: Value =
        reqwest::get(format!("http://{}/health", shop.addresses().gateway)).await.unwrap().json().await.unwrap();
    assert_eq!((&health["status"], &health["service"]), (&json!("healthy"), &json!("api-gateway")));

    the_administrator_looks_around(&shop).await;
    let mut client = somebody_registers(&shop).await;
    let order = the_customer_orders(&client).await;
    the_customer_cancels(&client, &order).await;
    the_session_is_refreshed_and_ends(&mut client).await;
}

async fn the_administrator_looks_around(shop: &Shop) {
    let mut admin = ShopClient::new(shop);
    admin.log_in("admin", "admin").await;
    let tokens = admin.tokens.as_ref().unwrap();
    assert_eq!((tokens.token_type.as_str(), tokens.expires_in), ("Bearer", 3600));
    assert!(tokens.refresh_expires_at.abs_diff(shop.clock.unix_seconds() + 30 * 86_400) < 60);

    let profile: User = admin.get("/users/profile").await;
    assert_eq!(profile.username, "admin");
    assert_eq!(profile.email.as_deref(), Some("admin@example.com"));
    assert_eq!((profile.first_name.as_deref(), profile.last_name.as_deref()), (Some("Admin"), Some("User")));
    assert!(is_date_time(&profile.date_creation) && is_date_time(&profile.date_update));

    let fields = json!({ "username": "marie", "email": "marie@example.com", "first_name": "Marie" });
    let created: User = admin.write(Method::POST, "/users", fields, 201).await;
    assert_eq!(
        (created.username.as_str(), created.first_name.as_deref(), created.phone),
        ("marie", Some("Marie"), None)
    );
    let path = format!("/users/{}", created.id);
    let changed: User =
        admin.write(Method::PUT, &path, json!({ "phone": "0123", "address": "1 rue de la Paix" }), 200).await;
    assert_eq!((changed.phone.as_deref(), changed.address.as_deref()), (Some("0123"), Some("1 rue de la Paix")));
    assert_eq!(changed.email.as_deref(), Some("marie@example.com"));
    let users: Vec<User> = admin.list("/users").await;
    assert_eq!(users.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["admin", "marie"]);
    let (status, deleted) = admin.call::<Value>(Method::DELETE, &path, None).await;
    assert!(status == 200 && deleted.message.is_some() && deleted.data.is_none());
    assert_eq!(admin.fails(Method::GET, &path, None).await, (404, "USER_NOT_FOUND".to_owned()));
}

async fn somebody_registers(shop: &Shop) -> ShopClient {
    let mut client = ShopClient::new(shop);
    let credentials = json!({ "username": "paul", "password": PASSWORD, "email": "paul@example.com" });
    let registered: Registered = client.write(Method::POST, "/auth/register", credentials.clone(), 201).await;
    assert_eq!(registered.username, "paul");
    let again = client.fails(Method::POST, "/auth/register", Some(credentials)).await;
    assert_eq!(again, (400, "CREATION_FAILED".to_owned()));
    let wrong = json!({ "username": "paul", "password": "something else" });
    assert_eq!(client.fails(Method::POST, "/auth/login", Some(wrong)).await, (401, "INVALID_CREDENTIALS".to_owned()));
    assert_eq!(client.fails(Method::GET, "/orders", None).await, (401, "MISSING_TOKEN".to_owned()));
    client.log_in("paul", PASSWORD).await;
    let profile: User = client.get("/users/profile").await;
    assert_eq!((profile.id, profile.username.as_str()), (registered.user_id, "paul"));
    client
}

async fn the_customer_orders(client: &ShopClient) -> Order {
    let products: Vec<Product> = client.list("/products").await;
    let watch = products.iter().find(|product| product.name.contains("Watch")).unwrap();
    assert!(watch.stock == 18 && !watch.description.is_empty() && is_date_time(&watch.date_creation));
    let headphones: Product = client.get("/products/3").await;
    let lines = json!([{ "product_id": watch.id, "quantity": 2 }, { "product_id": headphones.id, "quantity": 1 }]);
    let order: Order = client.write(Method::POST, "/orders", json!({ "items": lines }), 201).await;
    assert_eq!((order.user_id.as_str(), order.status.as_str()), ("paul", "pending"));
    assert!(is_date_time(&order.date_creation));
    assert_eq!(order.total, 2.0 * watch.price + headphones.price);
    assert!(order.items.iter().all(|item| item.order_id == order.id && item.id > 0));
    let mut bought: Vec<(u64, u64, &str, f64)> = order
        .items
        .iter()
        .map(|item| (item.product_id, item.quantity, item.product_name.as_str(), item.price))
        .collect();
    bought.sort_by_key(|(product, ..)| *product);
    let expected =
        [(3, 1, headphones.name.as_str(), headphones.price), (watch.id, 2, watch.name.as_str(), watch.price)];
    assert_eq!(bought, expected);
    let left: Product = client.get(&format!("/products/{}", watch.id)).await;
    assert_eq!(left.stock, 16);
    order
}

async fn the_customer_cancels(client: &ShopClient, order: &Order) {
    let second: Order =
        client.write(Method::POST, "/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] }), 201).await;
    let listed: Vec<Order> = client.list("/orders").await;
    assert_eq!(listed.iter().map(|order| order.id).collect::<Vec<_>>(), [second.id, order.id], "newest first");
    let path = format!("/orders/{}", order.id);
    let read: Order = client.get(&path).await;
    assert_eq!((read.id, read.total, read.items.len()), (order.id, order.total, 2));
    let cancelled: Order = client.write(Method::PUT, &path, json!({ "status": "cancelled" }), 200).await;
    assert_eq!(cancelled.status, "cancelled");
    let left: Product = client.get("/products/5").await;
    assert_eq!(left.stock, 18);
    assert_eq!(client.fails(Method::GET, "/orders/999", None).await, (404, "ORDER_NOT_FOUND".to_owned()));
}

async fn the_session_is_refreshed_and_ends(client: &mut ShopClient) {
    let old = client.tokens.take().unwrap();
    let refresh = json!({ "refresh_token": old.refresh_token });
    let (status, envelope) = client.call::<TokenPair>(Method::POST, "/auth/refresh", Some(refresh.clone())).await;
    assert_eq!(status, 200);
    let new = envelope.data.unwrap();
    assert_ne!((&new.access_token, &new.refresh_token), (&old.access_token, &old.refresh_token));
    assert_eq!(client.fails(Method::POST, "/auth/refresh", Some(refresh)).await, (401, "INVALID_TOKEN".to_owned()));

    let token = json!({ "token": new.access_token });
    let (status, envelope) = client.call::<Verified>(Method::POST, "/auth/verify", Some(token.clone())).await;
    let verified = envelope.data.unwrap();
    assert_eq!((status.as_u16(), verified.username.as_str()), (200, "paul"));
    assert!(verified.expires_at < new.refresh_expires_at);

    let logout = json!({ "refresh_token": new.refresh_token });
    client.tokens = Some(new);
    let (status, envelope) = client.call::<Value>(Method::POST, "/auth/logout", Some(logout.clone())).await;
    assert!(status == 200 && envelope.message.is_some() && envelope.data.is_none());
    assert_eq!(client.fails(Method::GET, "/orders", None).await, (401, "INVALID_TOKEN".to_owned()));
    client.tokens = None;
    assert_eq!(client.fails(Method::POST, "/auth/refresh", Some(logout)).await, (401, "INVALID_TOKEN".to_owned()));
    assert_eq!(client.fails(Method::POST, "/auth/verify", Some(token)).await, (401, "INVALID_TOKEN".to_owned()));
}
