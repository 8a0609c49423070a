//! The commands that call a running host's admin API.

mod answer;
mod connection;
mod events;
mod logs;
mod operator;
mod print;
mod steps;
mod table;
mod watch;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use comptoir::admin::SIGNATURE;
use comptoir::deploy::Share;
use comptoir::printable::printable;
use comptoir::signature::{self, Signature};
use hyper::Method;
use hyper::header::IF_MATCH;
use serde_json::Value;

use operator::{Header, Operator};
use steps::Deployed;

pub(crate) use connection::serves;
pub(crate) use logs::Logs;

/// `comptoir deploy`
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The service, as the manifest names it.
    service: String,
    /// The component's file.
    component: PathBuf,
    /// Deploy only if this revision is active: its full digest, 64 hexadecimal digits.
    #[arg(long, value_name = "DIGEST")]
    replaces: Option<String>,
    /// Deploy even if the host has already reverted this component.
    #[arg(long)]
    force: bool,
    /// Start a canary on this share of the callers, such as 5%. With 0% the canary answers only requests that name it by header.
    #[arg(long, value_name = "SHARE")]
    canary: Option<Share>,
    /// The reason to record in the history.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir deploy-set`
#[derive(Debug, Args)]
pub(crate) struct DeploySet {
    /// Each service, as the manifest names it, with its component's file.
    #[arg(required = true, value_name = "SERVICE=FILE", value_parser = service_and_file)]
    components: Vec<(String, PathBuf)>,
    /// The reason to record in the history.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir canary`
#[derive(Debug, Args)]
pub(crate) struct Canary {
    /// The new share of the callers, such as 20%. Without it, the command shows the canary's traffic.
    share: Option<Share>,
    /// Print again whenever something changes, until the canary ends. Shows what the host compares, and its verdict so far.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir reload`
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Only check the manifest, its components, certificates and ports, and print what a reload would change.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir promote` and `comptoir abort`
#[derive(Debug, Args)]
pub(crate) struct EndCanary {
    /// The reason to record in the history.
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
    /// The revision to roll back to: at least the first 8 digits of its digest.
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// The reason to record in the history.
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
    /// Show only this service. Default: all services.
    service: Option<String>,
    /// Print again whenever something changes, until ctrl-c.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir token`
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The username that services will see.
    user: String,
    /// The role: a route with the access `Admin` needs `admin`.
    #[arg(long, default_value = "user")]
    role: String,
    #[command(flatten)]
    operator: Operator,
}

/// `comptoir keys`
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    order: Option<KeysOrder>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Subcommand)]
enum KeysOrder {
    /// Create a new signing key. The previous key still verifies until its last token has expired.
    Rotate,
    /// Disable a key, for example because it leaked. From now on, the host refuses every token that it signed.
    Disable {
        /// The key's id, 16 hexadecimal digits: `comptoir keys` lists the ids.
        #[arg(value_parser = key_id)]
        id: String,
    },
}

fn key_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_id {
        Ok(text.to_owned())
    } else {
        Err("a key id has 16 digits of 0-9 and a-f: `comptoir keys` lists the ids".to_owned())
    }
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (component, signature) = read(&self.component)?;
        let mut query = vec![("reason", self.reason.as_str()), ("force", if self.force { "true" } else { "false" })];
        let share = self.canary.map(|share| share.to_string());
        query.extend(share.as_deref().map(|share| ("canary", share)));
        let path = format!("/services/{}?{}", self.service, encode(&query));
        let mut headers = signature;
        headers.extend(self.replaces.map(|replaces| (IF_MATCH, format!("\"{replaces}\""))));
        let Deployed { answer, shown } = steps::deploy(&self.operator, &self.service, &path, component, &headers)?;
        let file = self.component.display().to_string();
        self.operator.print(&answer, |report| print::report(report, shown)).context(file)
    }
}

impl DeploySet {
    /// Stages every component as a canary with a share of 0%, then promotes all of them in one step. If the host refuses one, the
    /// whole set is aborted. A random name identifies the set, so that the host refuses a concurrent set instead of mixing the two.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let set = format!("{:016x}", RandomState::new().build_hasher().finish());
        let staged = self.stage(&set);
        let query = encode(&[("reason", self.reason.as_str()), ("set", &set)]);
        if let Err(error) = staged {
            // This fails if no component of the set was staged. The first error says more, so this one is dropped.
            let _ = self.operator.ask(Method::POST, &format!("/canary/abort?{query}"), Vec::new(), &[]);
            return Err(error);
        }
        let answer = self.operator.ask(Method::POST, &format!("/canary/promote?{query}"), Vec::new(), &[])?;
        self.operator.print(&answer, print::reports)
    }

    fn stage(&self, set: &str) -> anyhow::Result<()> {
        for (service, file) in &self.components {
            let query = encode(&[("reason", self.reason.as_str()), ("canary", "0%"), ("set", set)]);
            let (component, signature) = read(file)?;
            let path = format!("/services/{service}?{query}");
            let Deployed { answer, shown } = steps::deploy(&self.operator, service, &path, component, &signature)?;
            let printed = self.operator.print(&answer, |report| print::report(report, shown));
            printed.with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}

impl Canary {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(share) = self.share {
            let path = format!("/canary?{}", encode(&[("share", share.to_string().as_str())]));
            let answer = self.operator.ask(Method::POST, &path, Vec::new(), &[])?;
            if !self.watch {
                return self.operator.print(&answer, print::canary);
            }
            self.operator.print(&answer, |_| ())?;
        }
        if self.watch {
            return watch::canary(&self.operator);
        }
        let answer = self.operator.ask(Method::GET, "/canary", Vec::new(), &[])?;
        self.operator.print(&answer, print::canary)
    }
}

impl Reload {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = format!("/reload?check={}", self.check);
        let answer = self.operator.ask(Method::POST, &path, Vec::new(), &[])?;
        if let (false, Some(message)) = (self.operator.json, answer["error"]["message"].as_str()) {
            // A faulty manifest is shown with its lines.
            bail!("{}", message.lines().map(printable).collect::<Vec<_>>().join("\n"));
        }
        self.operator.print(&answer, print::reloaded)
    }
}

impl EndCanary {
    pub(crate) fn promote(self) -> anyhow::Result<()> {
        self.end("promote", print::reports)
    }

    pub(crate) fn abort(self) -> anyhow::Result<()> {
        self.end("abort", print::aborted)
    }

    fn end(self, how: &str, print: fn(&Value)) -> anyhow::Result<()> {
        let path = format!("/canary/{how}?{}", encode(&[("reason", self.reason.as_str())]));
        let answer = self.operator.ask(Method::POST, &path, Vec::new(), &[])?;
        self.operator.print(&answer, print)
    }
}

impl Rollback {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut query = vec![("reason", self.reason.as_str())];
        query.extend(self.to.as_deref().map(|to| ("to", to)));
        let path = format!("/services/{}/rollback?{}", self.service, encode(&query));
        let answer = self.operator.ask(Method::POST, &path, Vec::new(), &[])?;
        self.operator.print(&answer, print::rolled_back)
    }
}

impl History {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let answer = self.operator.ask(Method::GET, &format!("/services/{}/history", self.service), Vec::new(), &[])?;
        self.operator.print(&answer, print::history)
    }
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = self.service.map_or_else(|| "/services".to_owned(), |service| format!("/services/{service}"));
        if self.watch {
            return watch::status(&self.operator, &path);
        }
        let answer = self.operator.ask(Method::GET, &path, Vec::new(), &[])?;
        self.operator.print(&answer, print::status)
    }
}

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = format!("/tokens?{}", encode(&[("user", self.user.as_str()), ("role", &self.role)]));
        let answer = self.operator.ask(Method::POST, &path, Vec::new(), &[])?;
        self.operator.print(&answer, print::token)
    }
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (method, path) = match self.order {
            None => (Method::GET, "/keys".to_owned()),
            Some(KeysOrder::Rotate) => (Method::POST, "/keys/rotate".to_owned()),
            Some(KeysOrder::Disable { id }) => (Method::DELETE, format!("/keys/{id}")),
        };
        let answer = self.operator.ask(method, &path, Vec::new(), &[])?;
        self.operator.print(&answer, print::keys)
    }
}

fn service_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (service, file) = text.split_once('=').ok_or("write SERVICE=FILE, such as orders=orders.wasm")?;
    Ok((service.to_owned(), file.into()))
}

/// Reads a component, and its signature header if there is a FILE.sig beside it.
fn read(file: &Path) -> anyhow::Result<(Vec<u8>, Vec<Header>)> {
    let component = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let path = signature::beside(file);
    let line = match std::fs::read_to_string(&path) {
        Ok(line) => {
            let signature = Signature::read(&line).with_context(|| path.display().to_string())?;
            Some((SIGNATURE, signature.line().to_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok((component, line.into_iter().collect()))
}

fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
