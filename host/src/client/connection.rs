//! A connection to an admin listener, which must prove that it belongs to the right host before it gets the admin token.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use comptoir::gate;
use comptoir::host::admin_address;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the host may take for its proof.
const PROOF_TIME: Duration = Duration::from_secs(30);

/// The largest answer with a proof, in bytes. Another program may send anything.
const PROOF_BYTES: usize = 64 << 10;

/// One connection, on which requests follow each other.
pub(super) struct Connection {
    admin: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to an admin listener.
    pub(super) async fn open(admin: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(admin).await.with_context(|| {
            format!("no host answers on {admin}: start it with `comptoir serve`, or pass its address with --admin")
        })?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { admin, sender })
    }

    /// Makes sure that the host on the other side knows the admin token. It does not learn it from this.
    ///
    /// # Errors
    /// It does not prove it. Unless the port `may_be_forwarded`, the host must also listen on the very address of this connection.
    pub(super) async fn prove(&mut self, token: &str, may_be_forwarded: bool) -> anyhow::Result<()> {
        let nonce = nonce()?;
        let request = Request::get(format!("/proof?nonce={nonce}")).header(HOST, self.admin.to_string());
        let answer = timeout(PROOF_TIME, self.send(request.body(Full::default())?, PROOF_BYTES)).await;
        let answer = answer.map_err(|_| anyhow::anyhow!("it did not answer within {PROOF_TIME:?}"))??;
        let address = answer["data"]["address"].as_str().and_then(|address| address.parse::<SocketAddr>().ok());
        let address = address.context("its answer is no proof")?;
        ensure!(address == self.admin || may_be_forwarded, "the host of this proof listens on {address}");
        ensure!(answer["data"]["proof"] == gate::proof(token, &nonce, address), "its proof is wrong");
        Ok(())
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn begin(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let closed = "the host closed the connection before it answered";
        self.sender.ready().await.context(closed)?;
        self.sender.send_request(request).await.context(closed)
    }

    /// Sends a request and reads its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>, most_bytes: usize) -> anyhow::Result<Value> {
        let response = self.begin(request).await?;
        let body = Limited::new(response.into_body(), most_bytes).collect().await;
        let body =
            body.map_err(|error| anyhow::anyhow!("the host closed the connection during its answer: {error}"))?;
        serde_json::from_slice(&body.to_bytes())
            .context("the answer is not JSON: is this the admin listener of a Comptoir host?")
    }
}

/// The admin token of the host of a data folder.
pub(super) fn admin_token(data: &Path) -> anyhow::Result<String> {
    let file = data.join("admin.token");
    let token = std::fs::read_to_string(&file);
    let token =
        token.with_context(|| format!("cannot read {}: pass the host's data folder with --data", file.display()))?;
    Ok(token.trim().to_owned())
}

/// Whether a host serves with this data folder now.
pub(crate) fn serves(data: &Path) -> bool {
    let asked = || -> anyhow::Result<()> {
        let admin = admin_address(data)?.context("no host has served")?;
        let token = admin_token(data)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Connection::open(admin).await?.prove(&token, false).await })
    };
    asked().is_ok()
}

fn nonce() -> anyhow::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system has no randomness: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
