//! A client that speaks HTTP to a host, and the answers that it reads.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The password of every user that a test registers.
pub const PASSWORD: &str = "correct horse battery";

/// A caller of a host: anonymous, or logged in.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    login: Option<Login>,
}

#[derive(Clone)]
struct Login {
    access_token: String,
    refresh_token: String,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// Null if the body is not JSON.
    pub body: Value,
    pub text: String,
}

impl Client {
    /// An anonymous caller of any host.
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { base: base.to_owned(), http, login: None }
    }

    /// Sends its requests to another address from now on.
    pub fn at(mut self, base: &str) -> Self {
        self.base = base.to_owned();
        self
    }

    /// A copy that calls from another loopback address: `127.0.0.` and the number.
    pub fn calling_from(&self, number: u8) -> Self {
        let address = std::net::IpAddr::from([127, 0, 0, number]);
        let http = reqwest::Client::builder().no_proxy().local_address(address).build().expect("a client");
        Self { http, ..self.clone() }
    }

    /// A copy with another access token.
    pub fn with_token(&self, access_token: &str) -> Self {
        let login = Login { access_token: access_token.to_owned(), refresh_token: String::new() };
        Self { login: Some(login), ..self.clone() }
    }

    /// A copy that is logged in.
    pub async fn log_in(&self, username: &str, password: &str) -> Self {
        let answer = self.post("/auth/login", json!({ "username": username, "password": password })).await;
        assert_eq!(answer.status, 200, "{username} cannot log in: {}", answer.body);
        self.with_pair(answer.data())
    }

    /// A copy with the token pair of a login or a refresh.
    pub fn with_pair(&self, pair: &Value) -> Self {
        let token = |name: &str| pair[name].as_str().expect("a token").to_owned();
        let login = Login { access_token: token("access_token"), refresh_token: token("refresh_token") };
        Self { login: Some(login), ..self.clone() }
    }

    /// An anonymous copy. The session stays open.
    pub fn without_token(&self) -> Self {
        Self { login: None, ..self.clone() }
    }

    pub fn access_token(&self) -> &str {
        &self.login.as_ref().expect("the client is logged in").access_token
    }

    pub fn refresh_token(&self) -> &str {
        &self.login.as_ref().expect("the client is logged in").refresh_token
    }

    /// An unsent request with the client's token.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.login {
            Some(login) => request.bearer_auth(&login.access_token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Sends a body unchanged, with a content type or without one.
    pub async fn send_body(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.request(method, path).body(body);
        send(match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        })
        .await
    }

    /// The rows of a list, over all its pages.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(page) = next {
            let answer = self.get(&page).await;
            rows.extend(answer.succeeds(200).as_array().expect("a list").iter().cloned());
            let link = answer.header("link").strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
            next = link.map(str::to_owned);
        }
        rows
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a whole answer");
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

impl Answer {
    /// `data` of the envelope.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The text of a header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts an error in the envelope.
    #[track_caller]
    pub fn refuses(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.body["error"]["code"]), (status, &json!(code)), "{}", self.text);
        assert_eq!(self.body["success"], json!(false), "{}", self.text);
        assert!(self.body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text);
    }

    /// Asserts success in the envelope and returns `data`.
    #[track_caller]
    pub fn succeeds(&self, status: u16) -> &Value {
        assert_eq!((self.status.as_u16(), &self.body["success"]), (status, &json!(true)), "{}", self.text);
        self.data()
    }
}

/// Whether a value is a text like `2024-02-29 12:00:00`.
pub fn is_date_time(value: &Value) -> bool {
    let shape = |byte: u8| if byte.is_ascii_digit() { '0' } else { byte.into() };
    value.as_str().is_some_and(|text| text.bytes().map(shape).eq("0000-00-00 00:00:00".chars()))
}
