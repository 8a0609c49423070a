//! The twin's routes.

use std::convert::Infallible;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use comptoir::clock::Clock;
use comptoir::passwords::{Limits, Passwords};
use comptoir::tokens::{Claims, Tokens};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::rows::{Database, OutOfStock, Session};

/// The largest request body.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// A refresh token is valid for thirty days.
const REFRESH_SECONDS: i64 = 30 * 24 * 3600;

struct Twin {
    database: Database,
    tokens: Tokens,
    passwords: Passwords,
    clock: Clock,
}

/// Why a request is refused: status, code and message.
type Refusal = (u16, &'static str, &'static str);

const INVALID_TOKEN: Refusal = (401, "INVALID_TOKEN", "The token is invalid or has expired");
const NOT_FOUND: Refusal = (404, "NOT_FOUND", "There is nothing here");
const BROKEN: Refusal = (500, "INTERNAL_ERROR", "Something went wrong");

/// Opens the shop in a folder and serves it on a port that the system picks.
pub(super) async fn serve(folder: &Path, group: usize) -> anyhow::Result<()> {
    let clock = Clock::default();
    let tokens = Tokens::open(folder, clock.clone())?;
    let database = Database::open(&folder.join("shop.db"), group)?;
    let passwords = Passwords::new(Limits { queue_time: Duration::from_secs(60), ..Limits::default() });
    let twin = Arc::new(Twin { database, tokens, passwords, clock });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "twin http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let twin = twin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let twin = twin.clone();
                async move { Ok::<_, Infallible>(twin.answer(request).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            // A broken connection concerns only its client.
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Twin {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, content_type, body) = match self.route(request).await {
            Ok((status, content_type, body)) => (status, content_type, body),
            Err((status, code, message)) => {
                let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}},"success":false}}"#);
                (status, Some("application/json"), body.into())
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Result<(u16, Option<&'static str>, Bytes), Refusal> {
        let (head, body) = request.into_parts();
        let json = |status, body: Vec<u8>| Ok((status, Some("application/json"), body.into()));
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/hello") => Ok((200, None, Bytes::from_static(b"0.2 Method::Get /hello"))),
            (&Method::GET, "/products") => json(200, self.database.products().map_err(|_| BROKEN)?),
            (&Method::GET, path) => match path.strip_prefix("/users/") {
                Some(id) => json(200, self.profile(id, &self.caller(&head.headers)?)?),
                None => Err(NOT_FOUND),
            },
            (&Method::POST, "/orders") => {
                let buyer = self.caller(&head.headers)?.subject;
                json(201, self.place(&read(body).await?, buyer).await?)
            }
            (&Method::POST, "/auth/login") => json(200, self.log_in(&read(body).await?).await?),
            _ => Err(NOT_FOUND),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.unix_seconds()).unwrap_or(i64::MAX)
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Claims, Refusal> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token.and_then(|token| self.tokens.verify(token)).ok_or(INVALID_TOKEN)
    }

    fn profile(&self, id: &str, caller: &Claims) -> Result<Vec<u8>, Refusal> {
        let id = id.parse().map_err(|_| NOT_FOUND)?;
        let (username, body) = self.database.profile(id).map_err(|_| BROKEN)?.ok_or(NOT_FOUND)?;
        if username == caller.subject || caller.role == "admin" {
            Ok(body)
        } else {
            Err((403, "FORBIDDEN", "This is another user's profile."))
        }
    }

    async fn place(&self, body: &[u8], buyer: String) -> Result<Vec<u8>, Refusal> {
        let cart: Cart = serde_json::from_slice(body).map_err(|_| (400, "MISSING_ITEMS", "There is no order."))?;
        let lines = cart.items.iter().map(|line| (line.product_id, line.quantity)).collect();
        self.database.place(buyer, lines, self.now()).await.map_err(|error| {
            let refused = (400, "ORDER_CREATION_FAILED", "There is not enough of a product in stock.");
            if error.is::<OutOfStock>() { refused } else { BROKEN }
        })
    }

    async fn log_in(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        const WRONG: Refusal = (401, "INVALID_CREDENTIALS", "The username or the password is wrong.");
        let login: Login =
            serde_json::from_slice(body).map_err(|_| (400, "MISSING_CREDENTIALS", "There is no login."))?;
        let now = self.now();
        let digest = digest(&login.username);
        let known = self.database.count_attempt(login.username, digest.clone(), now).await.map_err(|_| BROKEN)?;
        let hash = known.as_ref().map(|known| known.password_hash.clone());
        let verdict = self.passwords.verify(login.password, hash).await;
        let verdict = verdict.map_err(|_| (503, "BUSY", "Too many passwords are being checked."))?;
        let known = known.filter(|_| verdict.matches).ok_or(WRONG)?;
        let (id, refresh_token) = (random(16).ok_or(BROKEN)?, random(32).ok_or(BROKEN)?);
        let access = self.tokens.issue(&known.username, &known.role, &id).map_err(|_| BROKEN)?;
        let refresh_expires_at = now + REFRESH_SECONDS;
        let session = Session {
            login: known.id,
            id,
            digest: self::digest(&refresh_token),
            now,
            expires_at: refresh_expires_at,
            attempts: digest,
        };
        self.database.open_session(session).await.map_err(|_| BROKEN)?;
        let (access_token, expires_in) = (access.token, access.expires_in_seconds);
        Ok(format!(
            r#"{{"success":true,"data":{{"access_token":"{access_token}","refresh_token":"{refresh_token}","token_type":"Bearer","expires_in":{expires_in},"refresh_expires_at":{refresh_expires_at}}}}}"#
        )
        .into_bytes())
    }
}

#[derive(Deserialize)]
struct Cart {
    items: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    product_id: i64,
    quantity: u32,
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, BODY_LIMIT_BYTES).collect().await;
    Ok(body.map_err(|_| (413, "TOO_LARGE", "The body is too large."))?.to_bytes())
}

fn random(length: usize) -> Option<String> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn digest(text: &str) -> String {
    use sha2::Digest as _;
    URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(text))
}
