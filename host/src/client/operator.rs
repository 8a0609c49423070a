//! The options that all commands for a running host share: how to reach the host, and how to print its answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use comptoir::host::admin_address;
use comptoir::printable::printable_json;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderName};
use hyper::{Method, Request};
use serde_json::Value;

use super::answer::data;
use super::connection::{Connection, admin_token};
use super::events::Events;
use crate::output::outln;
use crate::project::DataOption;

/// A request header that only some commands send.
pub(super) type Header = (HeaderName, String);

/// How to reach the host, and how to print its answer.
#[derive(Debug, Args)]
pub(super) struct Operator {
    /// The address of the host's admin listener. Default: the one that the host wrote into its data folder.
    #[arg(
        long,
        global = true,
        env = "COMPTOIR_ADMIN",
        value_name = "ADDRESS",
        help_heading = "Options for the running host"
    )]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    data: DataOption,
    /// Print the answer of the admin API as JSON.
    #[arg(long, global = true, help_heading = "Options for the running host")]
    pub(super) json: bool,
}

/// Where a host is, and the token that it must prove to know before it gets it.
pub(super) struct Reached {
    data: PathBuf,
    admin: SocketAddr,
    token: String,
    /// A port that the operator names may be forwarded to the host's.
    may_be_forwarded: bool,
}

/// Runs the requests of a command.
pub(super) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Operator {
    /// Sends one request, and waits for its answer.
    pub(super) fn ask(&self, method: Method, path: &str, body: Vec<u8>, headers: &[Header]) -> anyhow::Result<Value> {
        let host = self.reach()?;
        let request = host.request(method, path, body, headers)?;
        run(async { host.connect().await?.send(request, usize::MAX).await })
    }

    /// Finds the host. Sends nothing yet.
    pub(super) fn reach(&self) -> anyhow::Result<Reached> {
        let data = self.data.find();
        let (admin, token) = (self.admin(&data)?, admin_token(&data)?);
        Ok(Reached { data, admin, token, may_be_forwarded: self.admin.is_some() })
    }

    /// Where the host's admin listener is.
    fn admin(&self, data: &Path) -> anyhow::Result<SocketAddr> {
        if let Some(given) = self.admin {
            return Ok(given);
        }
        let written = admin_address(data).with_context(|| {
            format!("cannot read the address of the host from {}: pass it with --admin", data.display())
        })?;
        written.with_context(|| {
            format!(
                "no host has served with the data folder {}: start one there with `comptoir serve`, go to the folder of its \
                 comptoir.toml, or pass its data folder with --data",
                std::path::absolute(data).as_deref().unwrap_or(data).display()
            )
        })
    }

    /// Prints the host's answer.
    ///
    /// # Errors
    /// The message of the host, if it refused the request.
    pub(super) fn print(&self, answer: &Value, print: impl FnOnce(&Value)) -> anyhow::Result<()> {
        if self.json {
            outln!("{}", printable_json(&format!("{answer:#}")));
        }
        let data = data(answer)?;
        if !self.json {
            print(&data);
        }
        Ok(())
    }
}

impl Reached {
    /// Connects to the host, and makes sure that it is the right one.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(self.admin).await?;
        connection.prove(&self.token, self.may_be_forwarded).await.with_context(|| {
            format!(
                "the program on {} does not prove that it is the host of the data folder {}, so it did not get the admin token: \
                 start the host with `comptoir serve`, or pass --data or --admin",
                self.admin,
                self.data.display()
            )
        })?;
        Ok(connection)
    }

    /// A request with the admin token. Send it only over a connection of [`Self::connect`].
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[Header],
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.admin.to_string());
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }

    /// The data of an answer to `GET`.
    pub(super) async fn get(&self, connection: &mut Connection, path: &str) -> anyhow::Result<Value> {
        let request = self.request(Method::GET, path, Vec::new(), &[])?;
        data(&connection.send(request, usize::MAX).await?)
    }

    /// The host's events, on a connection of their own.
    pub(super) async fn events(&self) -> anyhow::Result<Events> {
        let request = self.request(Method::GET, "/events", Vec::new(), &[])?;
        Events::begin(self.connect().await?, request).await
    }
}
