//! `comptoir logs`: the latest requests, and those that follow.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use comptoir::printable::printable_json;
use serde_json::Value;

use super::encode;
use super::operator::{Operator, run};
use crate::output::{BAD, FAINT, GOOD, HEADING, WARNING, is_unread, outln, say, styled};

/// How often the command asks for further requests.
const PAUSE: Duration = Duration::from_secs(1);

/// The most requests of one answer.
const MOST: usize = 500;

/// `comptoir logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Print further requests as they are answered. The host keeps failures, and all other requests while somebody looks.
    #[arg(short, long)]
    follow: bool,
    /// Only requests that this service answered. A `-` stands for the host itself.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only requests with this status, such as 404, or of this class, such as 5xx.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<String>,
    /// Only requests that this revision answered: the beginning of its digest.
    #[arg(long, value_name = "DIGEST")]
    revision: Option<String>,
    /// Only the request with this id, and its calls to other services.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many requests of the past to print.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=500))]
    lines: u16,
    #[command(flatten)]
    operator: Operator,
}

/// What makes a request different from all others of an answer.
type Key = [String; 4];

fn status(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let is_rest = |byte: &u8| byte.is_ascii_digit() || *byte == b'x';
    let is_status = bytes.len() == 3 && matches!(bytes[0], b'1'..=b'5') && bytes[1..].iter().all(is_rest);
    if is_status && (bytes[1] == b'x') == (bytes[2] == b'x') {
        Ok(text.to_owned())
    } else {
        Err("write a status such as 404, or a class such as 5xx".to_owned())
    }
}

impl Logs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.operator.reach()?;
        run(async {
            let mut connection = host.connect().await?;
            // None before the first answer.
            let mut seen: Option<BTreeSet<Key>> = None;
            loop {
                let found = host.get(&mut connection, &self.path()).await?;
                // The host lists the newest first.
                let requests: Vec<&Value> = found.as_array().into_iter().flatten().rev().collect();
                self.print_new(&requests, seen.as_ref());
                // A request that the host does not list any more never comes back.
                seen = Some(requests.iter().map(|request| key(request)).collect());
                if !self.follow || is_unread() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }

    fn path(&self) -> String {
        let limit = MOST.to_string();
        let wanted = [
            ("service", self.service.as_deref()),
            ("status", self.status.as_deref()),
            ("revision", self.revision.as_deref()),
            ("id", self.id.as_deref()),
            ("limit", Some(limit.as_str())),
        ];
        let query: Vec<(&str, &str)> = wanted.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        format!("/requests?{}", encode(&query))
    }

    /// Prints the requests that the last answer did not have.
    fn print_new(&self, requests: &[&Value], seen: Option<&BTreeSet<Key>>) {
        let Some(seen) = seen else {
            if !self.operator.json {
                outln!("{HEADING}{}{HEADING:#}", columns("TIME", "STATUS", "TOOK", "REVISION", "REQUEST"));
            }
            let first = requests.len().saturating_sub(usize::from(self.lines));
            return requests[first..].iter().for_each(|request| self.print(request));
        };
        let new: Vec<&&Value> = requests.iter().filter(|request| !seen.contains(&key(request))).collect();
        if new.len() == MOST {
            say("more requests came than the host keeps: choose fewer with --service or --status");
        }
        new.into_iter().for_each(|request| self.print(request));
    }

    fn print(&self, request: &Value) {
        if self.operator.json {
            return outln!("{}", printable_json(&request.to_string()));
        }
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let number = |name: &str| request[name].as_f64().unwrap_or_default();
        let status = request["status"].as_u64().unwrap_or_default();
        let style = match status {
            500.. => BAD,
            400.. => WARNING,
            _ => GOOD,
        };
        let caller = request["caller"].as_str().map(|caller| format!("  called by {caller}")).unwrap_or_default();
        let took = format!("{:.1} ms", number("duration_us") / 1000.0);
        let revision = if text("revision").contains('@') || text("service") == "-" {
            text("revision").to_owned()
        } else {
            format!("{}@{}", text("service"), text("revision"))
        };
        let asked = format!("{} {}{caller}", text("method"), text("path"));
        let line = columns(&time_of_day(number("at")), &status.to_string(), &took, &revision, &asked);
        outln!("{style}{line}{style:#}  {}", styled(FAINT, text("request_id")));
        for (name, before) in [("cause", "why"), ("output", "out")] {
            lines(text(name)).for_each(|line| outln!("    {} {line}", styled(FAINT, before)));
        }
    }
}

fn columns(time: &str, status: &str, took: &str, revision: &str, request: &str) -> String {
    format!("{time:<12}  {status:<6}  {took:>10}  {revision:<20}  {request}")
}

/// The lines of a text in which the host has escaped the line breaks.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(r"\n").map(str::trim_end).filter(|line| !line.is_empty())
}

fn key(request: &Value) -> Key {
    ["at", "request_id", "service", "path"].map(|name| request[name].to_string())
}

/// The time of day (UTC) with milliseconds.
fn time_of_day(unix_seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit for a long time")]
    let milliseconds = (unix_seconds * 1000.0) as i64;
    let (seconds, milliseconds) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_class() {
        for good in ["200", "404", "5xx", "1xx"] {
            assert_eq!(status(good).as_deref(), Ok(good));
        }
        for bad in ["", "20", "2000", "6xx", "xxx", "40x", "4x4", "ok"] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_of_day_has_milliseconds() {
        assert_eq!(time_of_day(1_764_426_662.125), "14:31:02.125");
    }
}
