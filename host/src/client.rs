//! The commands that speak to a running host's admin listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, IF_MATCH};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// Where the host is, and by what right.
#[derive(Debug, Args)]
struct Operator {
    /// The host's admin listener.
    #[arg(long, env = "COMPTOIR_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:8010")]
    admin: SocketAddr,
    /// The host's data folder, whose admin.token opens it.
    #[arg(long, env = "COMPTOIR_DATA", default_value = "data")]
    data: PathBuf,
    /// Print the host's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// `comptoir deploy`
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The service, as the manifest names it.
    service: String,
    /// The component's file.
    component: PathBuf,
    /// Only if this revision is active now: 64 hexadecimal digits.
    #[arg(long, value_name = "DIGEST")]
    replaces: Option<String>,
    /// Also if the host took this component back before.
    #[arg(long)]
    force: bool,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir rollback`
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The service, as the manifest names it.
    service: String,
    /// The revision to go back to, by at least its first 8 digits.
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir history`
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The service, as the manifest names it.
    service: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One service; all of them without it.
    service: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let component = read(&self.component)?;
        let query = [("reason", self.reason.as_str()), ("force", if self.force { "true" } else { "false" })];
        let path = format!("/services/{}?{}", self.service, encode(&query));
        let answer = self.operator.ask(Method::PUT, &path, component, self.replaces.as_deref())?;
        self.operator.print(&answer, print_report)
    }
}

impl Rollback {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut query = vec![("reason", self.reason.as_str())];
        query.extend(self.to.as_deref().map(|to| ("to", to)));
        let path = format!("/services/{}/rollback?{}", self.service, encode(&query));
        let answer = self.operator.ask(Method::POST, &path, Vec::new(), None)?;
        self.operator.print(&answer, print_report)
    }
}

impl History {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let answer =
            self.operator.ask(Method::GET, &format!("/services/{}/history", self.service), Vec::new(), None)?;
        self.operator.print(&answer, print_history)
    }
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = self.service.map_or_else(|| "/services".to_owned(), |service| format!("/services/{service}"));
        let answer = self.operator.ask(Method::GET, &path, Vec::new(), None)?;
        self.operator.print(&answer, print_status)
    }
}

impl Operator {
    fn ask(&self, method: Method, path: &str, body: Vec<u8>, replaces: Option<&str>) -> anyhow::Result<Value> {
        let token = self.data.join("admin.token");
        let token = std::fs::read_to_string(&token)
            .with_context(|| format!("cannot read {}: name the host's data folder with --data", token.display()))?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.admin.to_string());
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        if let Some(replaces) = replaces {
            request = request.header(IF_MATCH, format!("\"{replaces}\""));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send(self.admin, request))
    }

    /// Prints what the host did, or fails with what it said.
    fn print(&self, answer: &Value, print: fn(&Value)) -> anyhow::Result<()> {
        if self.json {
            println!("{answer:#}");
        }
        if answer["success"] != true {
            bail!("{}", answer["error"]["message"].as_str().unwrap_or("the host gave no reason"));
        }
        if !self.json {
            print(&answer["data"]);
        }
        Ok(())
    }
}

async fn send(admin: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Value> {
    let stream = tokio::net::TcpStream::connect(admin).await;
    let stream = stream
        .with_context(|| format!("no host answers on {admin}: start one with `just run`, or name it with --admin"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.context("the host broke off")?;
    let body = response.into_body().collect().await.context("the host broke off")?.to_bytes();
    drop(sender);
    let _ = connection.await;
    serde_json::from_slice(&body).context("the answer is not that of a Comptoir host")
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn short(digest: &Value) -> &str {
    digest.as_str().map_or("-", |digest| digest.get(..12).unwrap_or(digest))
}

fn print_report(report: &Value) {
    for step in report["steps"].as_array().into_iter().flatten() {
        #[allow(clippy::cast_precision_loss, reason = "microseconds for people")]
        let milliseconds = step["took_us"].as_u64().unwrap_or_default() as f64 / 1000.0;
        println!(
            "  {:<10} {milliseconds:>9.1} ms  {}",
            step["step"].as_str().unwrap_or_default(),
            step["note"].as_str().unwrap_or_default()
        );
    }
    for difference in report["differences"].as_array().into_iter().flatten() {
        println!("  {}", difference.as_str().unwrap_or_default());
    }
    let (service, from, to) =
        (report["service"].as_str().unwrap_or_default(), short(&report["from"]), short(&report["to"]));
    if report["changed"] == true {
        println!("{service}: {from} -> {to}");
    } else {
        println!("{service}: {to} is active already, nothing changed");
    }
}

fn print_history(lines: &Value) {
    for line in lines.as_array().into_iter().flatten() {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let at = time::OffsetDateTime::from_unix_timestamp(line["at"].as_i64().unwrap_or_default());
        let at =
            at.ok().and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default();
        let why =
            [text("reason"), text("detail")].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        println!(
            "{:>4}  {at}  {:<9} {:<12} {} -> {}  {:<11} {why}",
            line["id"],
            text("by"),
            text("action"),
            short(&line["from"]),
            short(&line["to"]),
            text("result")
        );
    }
}

fn print_status(services: &Value) {
    let one = std::slice::from_ref(services);
    for service in services.as_array().map_or(one, Vec::as_slice) {
        let text = |name: &str| service[name].as_str().unwrap_or_default();
        println!(
            "{}  {}  version {}  WASI {}",
            text("service"),
            short(&service["revision"]),
            text("version"),
            text("wasi")
        );
        for kept in service["kept"].as_array().into_iter().flatten() {
            println!("  kept {}", short(kept));
        }
        for route in service["traffic"].as_array().into_iter().flatten() {
            let median = route["median_us"].as_f64().unwrap_or_default() / 1000.0;
            println!(
                "  {:<32} {:>8} good {:>6} bad  median {median:.1} ms",
                route["route"].as_str().unwrap_or_default(),
                route["good"],
                route["bad"]
            );
        }
    }
}
